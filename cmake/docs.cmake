# Target warren_docs: the reference of the public headers with README.md as its main page, in docs/html of the build folder.
# Where there is no Doxygen there is no such target. Any warning is an error: what is public is documented.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  return()
endif()
set(DOXYGEN_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/docs")
set(DOXYGEN_STRIP_FROM_PATH "${CMAKE_CURRENT_SOURCE_DIR}/include")
set(DOXYGEN_STRIP_FROM_INC_PATH "${CMAKE_CURRENT_SOURCE_DIR}/include")
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_DISTRIBUTE_GROUP_DOC NO)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_WARN_NO_PARAMDOC NO)  # most parameters say by name and type what they are
set(DOXYGEN_HTML_COLORSTYLE_SAT 0)
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED WARREN_EXPORT=)
set(DOXYGEN_EXCLUDE_SYMBOLS warren::handler_detail warren::handler_detail::*)
# Doxygen 1.9.4 takes `namespace warren::inline v0` for a namespace v0.
# And a defaulted comparison needs no comment: it is not shown.
set(DOXYGEN_INPUT_FILTER "sed -e s/::inline.v0// -e s/.*operator==.*=.default.*//")
set(DOXYGEN_IMAGE_PATH "${CMAKE_CURRENT_SOURCE_DIR}/tests/bench")  # of the picture in README.md
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE "${CMAKE_CURRENT_SOURCE_DIR}/README.md")
doxygen_add_docs(warren_docs include/warren README.md COMMENT "Reference of the public headers")
