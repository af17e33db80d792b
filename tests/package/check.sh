#!/usr/bin/env bash
# One check of the package; CTest calls it (see CMakeLists.txt), with KIND static or shared.
#
#   install KIND       builds where needed, installs to $WARREN_WORK/KIND/installed, copies that to KIND/moved to
#   components KIND    Runtime and Development together are the whole, Runtime is what a program needs to run
#   find_package KIND  a project finds it there, more than once, by version, and its program runs
#   moved KIND         the same where it was moved to, and nothing leads back
#   pkg_config KIND    the same program, by pkg-config
#   symbols KIND       the library exports nothing foreign, and needs no library that it should not
#   archive KIND       as moved, with rabbitmq-c itself as an archive
#   headers KIND       each public header compiles alone, without rabbitmq-c and fmt; below C++20 it says one sentence
#   wrong_uses KIND    wrong uses of the headers do not compile, and the first ten lines of the error say why
#   no_tls KIND        the same headers without TLS and without OpenSSL, and a clear error where TLS is asked for
#   readme KIND        the C++ in README.md compiles as it stands there, and what has a main() links
#   packages KIND      cpack makes .deb and .tar.gz, with the right files and dependencies; a project builds from them
#   subproject         add_subdirectory: builds, installs nothing, adds no tests
#   fetch_content      FetchContent, of a copy that says it is the next version; installed to $WARREN_WORK/next/installed
#   side_by_side KIND  a project finds the version it asks for where both are, and both libraries fit into one folder
set -euo pipefail

check=$1
kind=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
installed=$WARREN_WORK/$kind/installed
moved="$WARREN_WORK/$kind/moved to"

fail() {
    echo "$*" >&2
    exit 1
}

# configure SOURCE BUILD_FOLDER OPTIONS...
configure() {
    local source=$1 build=$2
    shift 2
    rm -rf "$build"
    "$CMAKE" -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER="$CXX" "$@"
}

files_of() { (cd "$1" && find . ! -type d | sort); }

# The folder that the library of this kind is built in: the main one, or one of the package tests'.
build=$WARREN_BUILD
[ "$kind" = "$WARREN_BUILT" ] || build=$WARREN_WORK/$kind/build

install_it() {
    local shared=OFF
    if [ "$build" != "$WARREN_BUILD" ]; then
        [ "$kind" = static ] || shared=ON
        # Kept between runs, as the main build folder is.
        "$CMAKE" -S "$WARREN_SOURCE" -B "$build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER="$CXX" \
            -DCMAKE_CXX_FLAGS="$WARREN_FLAGS" -DBUILD_SHARED_LIBS=$shared
    fi
    "$CMAKE" --build "$build" --target warren --parallel "$(nproc)"
    rm -rf "$installed" "$moved" "$WARREN_WORK/$kind"/component.*
    "$CMAKE" --install "$build" --prefix "$installed"
    cp -a "$installed" "$moved"
    for component in Runtime Development; do
        "$CMAKE" --install "$build" --prefix "$WARREN_WORK/$kind/component.$component" \
            --component warren_$component > /dev/null
    done
}

components() {
    local runtime=$WARREN_WORK/$kind/component.Runtime development=$WARREN_WORK/$kind/component.Development
    diff <(files_of "$installed") <({ files_of "$runtime" && files_of "$development"; } | sort)
    files_of "$installed" | grep -q '/LICENSE$' || fail "LICENSE is not installed"
    if [ "$kind" = shared ]; then
        files_of "$runtime" | grep -q "/libwarren\.so\.$WARREN_VERSION\$" || fail "the library is not in Runtime"
    fi
    if files_of "$runtime" | grep -vE '/libwarren\.so\.|/LICENSE$'; then
        fail "these files are for development only"
    fi
}

# find_it PREFIX OPTIONS...
find_it() {
    local prefix=$1 build=$WARREN_WORK/$kind/$check
    shift
    [ "$kind" != shared ] || set -- "$@" -DWITHOUT_DEPENDENCIES=ON
    configure "$here/find_package" "$build" -DCMAKE_PREFIX_PATH="$prefix" -DEXPECTED_VERSION="$WARREN_VERSION" "$@"
    "$CMAKE" --build "$build" --verbose
    "$build/app"
}

find_moved() {
    mv "$installed" "$installed.away"
    trap 'mv "$installed.away" "$installed"' EXIT
    find_it "$moved" "$@"
    if grep -rF -e "$installed" -e "$WARREN_BUILD/include" "$moved" "$WARREN_WORK/$kind/$check/CMakeCache.txt"; then
        fail "these lead back to where it came from"
    fi
}

archive() {
    local archive
    archive=$("$CXX" -print-file-name=librabbitmq.a)
    if [ ! -e "$archive" ]; then
        echo "there is no librabbitmq.a: nothing to check"
        exit 77
    fi
    find_moved -DRabbitMQC_LIBRARY="$archive"
    if "$READELF" -d "$WARREN_WORK/$kind/$check/app" | grep NEEDED | grep rabbitmq; then
        fail "the archive was not used"
    fi
}

pkg_config() {
    local pc
    pc=$(find "$moved" -name warren.pc)
    PKG_CONFIG_PATH=$(dirname "$pc")
    export PKG_CONFIG_PATH
    [ "$(pkg-config --modversion warren)" = "$WARREN_VERSION" ] || fail "the version is not $WARREN_VERSION"
    if [ "$kind$WARREN_HAS_TLS" = staticON ]; then
        pkg-config --print-requires warren | grep -qx openssl || fail "warren.pc does not ask for openssl"
    fi
    mkdir -p "$WARREN_WORK/$kind/$check"
    # eval: pkg-config quotes the blank in the path for a shell
    eval "\"\$CXX\" -std=c++20 \"\$here/app.cpp\" -o \"\$WARREN_WORK/\$kind/\$check/app\" \
        $(pkg-config --cflags --libs warren)"
    LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH") "$WARREN_WORK/$kind/$check/app"
}

# Mangled, for readable names may begin with a return type.
warren_name='_Z(T[ISTV]|GV|T[hv].*_)?N(K?[RO]?)6warren'
inner_name="$warren_name(2v[0-9]+)?(6engine|4wire|5retry)"

# none MESSAGE GREP_ARGUMENTS...: fails with the names on stdin that grep picks, where there are any.
none() {
    local message=$1 names
    shift
    names=$(grep -E "$@" | c++filt) || true
    [ -z "$names" ] || fail "$message: $names"
}

symbols() {
    local library names
    if [ "$kind" = shared ]; then
        library=$(find "$installed" -name libwarren.so)
        names=$("$NM" -D --defined-only "$library" | awk '{ print $NF }')
        grep -q '^_ZN6warren.*3Uri5parse' <<< "$names" || fail "Uri::parse is not exported"
        none "exported, and not warren's" -v "^$warren_name" <<< "$names"
        none "exported, and inner" "^$inner_name" <<< "$names"
        names=$("$READELF" -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
        none "needed, and should not be" -v '^(lib(rabbitmq|fmt|ssl|crypto|stdc\+\+|gcc_s|m|c)|ld-linux.*)\.so' <<< "$names"
    else
        library=$(find "$installed" -name libwarren.a)
        names=$("$NM" --defined-only "$library" | sed -n 's/^[0-9a-f]* \([A-Z]\) /\1 /p')
        none "defined, and not warren's" -v "^[WV] |^. $warren_name" <<< "$names"
        # Weak ones may be instances of std's and fmt's templates, never names of the global namespace.
        none "defined, and in no namespace" '^[WV] (_Z[0-9]|[^_D])' <<< "$names"
    fi
}

headers() {
    local header name seen
    cd "$moved"
    for header in include/warren/*.hpp; do
        name=warren/${header##*/}
        # Twice: it must bear that. With the library's own warnings, as errors.
        seen=$(printf '#include <%s>\n#include <%s>\n' "$name" "$name" |
            "$CXX" -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror \
                -Iinclude -fsyntax-only -MD -MF /dev/stdout -x c++ -) ||
            fail "$name does not compile alone"
        ! grep -E 'amqp|rabbitmq|fmt/' <<< "$seen" || fail "$name includes what should stay inside"
    done
    # Below C++20 there is one sentence, whichever header comes first.
    for header in include/warren/*.hpp; do
        if seen=$(printf '#include <%s>\n' "warren/${header##*/}" |
            "$CXX" -std=c++17 -Iinclude -fsyntax-only -x c++ - 2>&1); then
            fail "${header##*/} compiles as C++17"
        fi
        grep -m 1 'error:' <<< "$seen" | grep -q 'warren needs C++20' ||
            fail "${header##*/}: the first error of C++17 is not that warren needs C++20: $seen"
        [[ $(grep -c 'error:' <<< "$seen") -le 2 ]] || fail "${header##*/}: more errors than one: $seen"
    done
    diff <(cd "$WARREN_SOURCE/include" && find . -type f | sort) \
        <(cd include && find . -type f ! -name export.hpp | sort)
    for header in include/warren/*.hpp; do
        case ${header##*/} in warren.hpp | export.hpp) continue ;; esac
        grep -q "<warren/${header##*/}>" include/warren/warren.hpp ||
            fail "warren/warren.hpp leaves out ${header##*/}"
    done
    "$CMAKE" --build "$WARREN_BUILD" --target all_verify_interface_header_sets
}

# Each file of wrong_uses/ is right with -DRIGHT, and wrong without. Its first line says what the error must say early.
wrong_uses() {
    local compiler source expected words tried=" "
    for compiler in "$CXX" g++ clang++; do
        compiler=$(command -v "$compiler") || continue
        case $tried in *" $(readlink -f "$compiler") "*) continue ;; esac
        tried+="$(readlink -f "$compiler") "
        for source in "$here"/wrong_uses/*.cpp; do
            expected=$(sed -n '1s|^// expected: ||p' "$source")
            [ -n "$expected" ] || fail "$source does not say what to expect"
            "$compiler" -std=c++20 -I"$moved/include" -fsyntax-only -DRIGHT "$source" ||
                fail "$compiler refuses what is right in ${source##*/}"
            if words=$("$compiler" -std=c++20 -I"$moved/include" -fsyntax-only "$source" 2>&1); then
                fail "$compiler takes what is wrong in ${source##*/}"
            fi
            grep -qE "$expected" <<< "$(head -n 10 <<< "$words")" ||
                fail "$compiler does not say \"$expected\" within ten lines for ${source##*/}: $words"
        done
    done
}

no_tls() {
    local with_tls=$installed app
    installed=$WARREN_WORK/no_tls/installed
    kind=no_tls
    "$CMAKE" -S "$WARREN_SOURCE" -B "$WARREN_WORK/no_tls/build" -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_CXX_FLAGS="$WARREN_FLAGS" -DWARREN_WITH_TLS=OFF
    "$CMAKE" --build "$WARREN_WORK/no_tls/build" --target warren --parallel "$(nproc)"
    rm -rf "$installed"
    "$CMAKE" --install "$WARREN_WORK/no_tls/build" --prefix "$installed"
    diff -r "$with_tls/include" "$installed/include"
    ! grep -i openssl "$(find "$installed" -name warren.pc)" || fail "warren.pc asks for openssl"
    if "$NM" --undefined-only "$(find "$installed" -name libwarren.a)" | grep -E ' (SSL|X509|BIO|ERR|OPENSSL)_'; then
        fail "it needs OpenSSL"
    fi
    find_it "$installed" -DCMAKE_DISABLE_FIND_PACKAGE_OpenSSL=ON
    app=$WARREN_WORK/no_tls/$check/app
    "$app" amqps://localhost | grep -x 'permanent: .*this build of warren has no TLS' || fail "TLS is not refused"
}

subproject() {
    local build=$WARREN_WORK/subproject prefix=$WARREN_WORK/subproject.installed
    configure "$here/subproject" "$build" -DWARREN_SOURCE="$WARREN_SOURCE"
    "$CMAKE" --build "$build" --parallel "$(nproc)"
    "$build/app"
    rm -rf "$prefix"
    "$CMAKE" --install "$build" --prefix "$prefix"
    diff <(echo ./bin/app) <(files_of "$prefix")
    (cd "$build" && "${CMAKE%/*}/ctest" -N | grep '^Total Tests: 0$')
}

readme() {
    local out=$WARREN_WORK/$kind/readme.source block lines
    rm -rf "$out"
    mkdir -p "$out/blocks" "$out/programs" "$out/fragments"
    awk -v out="$out/blocks" '/^```cpp$/ { file = out "/line_" NR + 1; next } /^```$/ { file = "" } file { print > file }' \
        "$WARREN_SOURCE/README.md"
    for block in "$out"/blocks/*; do
        lines="#line ${block##*_} \"README.md\""
        if grep -q 'int main' "$block"; then
            { echo "$lines" && cat "$block"; } > "$out/programs/${block##*/}.cpp"
        else
            # What a reader takes from the text around it: a connection, and the literals of time.
            printf '%s\n' '#include <iostream>' '#include <vector>' '#include <warren/warren.hpp>' \
                'using namespace std::chrono_literals;' 'extern warren::Connection& connection;' \
                "void ${block##*/}();" "void ${block##*/}() {" "$lines" "$(cat "$block")" '}' \
                > "$out/fragments/${block##*/}.cpp"
        fi
    done
    [ "$(find "$out/programs" -name '*.cpp' | wc -l)" -ge 2 ] || fail "README.md has not two programs any more"
    configure "$here/readme" "$WARREN_WORK/$kind/readme" -DCMAKE_PREFIX_PATH="$moved" \
        -DPROGRAMS="$out/programs" -DFRAGMENTS="$out/fragments"
    "$CMAKE" --build "$WARREN_WORK/$kind/readme" --parallel "$(nproc)"
}

# deb PACKAGE: its file, unpacked to $WARREN_WORK/KIND/debs too. says PACKAGE FIELD PATTERN: a field of its control file.
deb() {
    local file
    file=$(find "$WARREN_WORK/$kind/cpack" -maxdepth 1 -name "$1_$WARREN_VERSION-1_*.deb")
    [ -n "$file" ] || fail "there is no package $1"
    dpkg-deb -x "$file" "$WARREN_WORK/$kind/debs"
    echo "$file"
}
says() {
    local value
    value=$(dpkg-deb -f "$(deb "$1")" "$2")
    grep -qE "$3" <<< "$value" || fail "$1, $2: $value"
}

packages() {
    local out=$WARREN_WORK/$kind/cpack soname=${WARREN_VERSION%.*} package archive
    local names=(libwarren-dev)
    if ! command -v dpkg-shlibdeps > /dev/null; then
        echo "there is no dpkg-shlibdeps: nothing to check"
        exit 77
    fi
    [ "$kind" = static ] || names+=("libwarren$soname")
    rm -rf "$out" "$WARREN_WORK/$kind/debs"
    (cd "$build" && "${CMAKE%/*}/cpack" -B "$out")
    [ "$(find "$out" -maxdepth 1 -name '*.deb' | wc -l)" = ${#names[@]} ] || fail "not the packages: ${names[*]}"
    for package in "${names[@]}"; do
        says "$package" Version "^$WARREN_VERSION-1\$"
        [ -f "$WARREN_WORK/$kind/debs/usr/share/doc/$package/copyright" ] || fail "$package has no copyright"
    done
    if [ "$kind" = shared ]; then
        says libwarren-dev Depends "^libwarren$soname \(= $WARREN_VERSION-1\)\$"
        says "libwarren$soname" Depends 'libfmt'
        says "libwarren$soname" Depends 'librabbitmq4 '
        [ "$WARREN_HAS_TLS" = OFF ] || says "libwarren$soname" Depends 'libssl'
        grep -q "/libwarren.so.$WARREN_VERSION\$" <<< "$(dpkg-deb -c "$(deb "libwarren$soname")")" || fail "no library in it"
        grep -q '/libwarren.so -> ' <<< "$(dpkg-deb -c "$(deb libwarren-dev)")" || fail "no libwarren.so in libwarren-dev"
    else
        says libwarren-dev Depends 'libfmt-dev, librabbitmq-dev'
    fi
    archive=$(find "$out" -maxdepth 1 -name '*.tar.gz')
    diff <(files_of "$installed") <(tar tzf "$archive" | grep -v '/$' | sed 's|^[^/]*/|./|' | sort)
    find_it "$WARREN_WORK/$kind/debs/usr"
}

fetch_content() {
    local next=$WARREN_WORK/next minor version
    minor=${WARREN_VERSION#*.}
    minor=${minor%%.*}
    version=${WARREN_VERSION%%.*}.$((minor + 1)).0
    rm -rf "$next/source" "$next/installed"
    mkdir -p "$next/source"
    (cd "$WARREN_SOURCE" && cp -r CMakeLists.txt LICENSE cmake include src "$next/source")
    sed -i -e "s/VERSION_MINOR .*/VERSION_MINOR $((minor + 1))/" -e "s/VERSION_STRING .*/VERSION_STRING \"$version\"/" \
        "$next/source/include/warren/version.hpp"
    configure "$here/fetch_content" "$next/build" -DCMAKE_BUILD_TYPE=None -DWARREN_SOURCE="$next/source"
    "$CMAKE" --build "$next/build" --parallel "$(nproc)"
    "$next/build/app" | grep -x "warren $version"
    "$CMAKE" --install "$next/build" --prefix "$next/installed"
    "$CMAKE" --install "$next/build" --prefix "$next/runtime" --component warren_Runtime
    echo "$version" > "$next/version"
}

side_by_side() {
    local next=$WARREN_WORK/next both=$WARREN_WORK/next/both libraries=$WARREN_WORK/next/both/lib wanted app
    rm -rf "$both"
    mkdir -p "$libraries"
    find "$WARREN_WORK/$kind/component.Runtime" "$next/runtime" -name 'libwarren.so.*' -exec cp -a {} "$libraries" \;
    for wanted in "$WARREN_VERSION" "$(cat "$next/version")"; do
        configure "$here/side_by_side" "$both/$wanted" -DWANTED="${wanted%.*}" \
            -DCMAKE_PREFIX_PATH="$next/installed;$installed" -DCMAKE_SKIP_RPATH=ON
        "$CMAKE" --build "$both/$wanted"
        app=$both/$wanted/app
        "$READELF" -d "$app" | grep -q "NEEDED.*libwarren\.so\.${wanted%.*}]" || fail "not linked with $wanted"
        LD_LIBRARY_PATH=$libraries "$app" | grep -x "warren $wanted"
    done
}

case $check in
    install) install_it ;;
    components) components ;;
    find_package) find_it "$installed" ;;
    moved) find_moved ;;
    archive) archive ;;
    pkg_config) pkg_config ;;
    symbols) symbols ;;
    headers) headers ;;
    wrong_uses) wrong_uses ;;
    no_tls) no_tls ;;
    subproject) subproject ;;
    readme) readme ;;
    packages) packages ;;
    fetch_content) fetch_content ;;
    side_by_side) side_by_side ;;
    *) fail "no check '$check'" ;;
esac
