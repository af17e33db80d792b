#include "retry/failure.hpp"

#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#define WARREN_HAS_CXXABI 1
#endif

#include <cstdlib>
#include <memory>
#include <typeinfo>

#include <warren/outcome.hpp>

namespace warren::inline v0::retry {
namespace {

std::string name_of(const std::type_info& type) {
#ifdef WARREN_HAS_CXXABI
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  if (status == 0 && name != nullptr) return name.get();
#endif
  return type.name();
}

// The type name of the exception that is being handled.
std::string current_type() {
#ifdef WARREN_HAS_CXXABI
  if (const std::type_info* type = abi::__cxa_current_exception_type()) return name_of(*type);
#endif
  return "unknown exception type";
}

std::string text_of(const char* text) { return text == nullptr ? std::string() : std::string(text); }

}  // namespace

const char* to_string(Reason reason) noexcept {
  switch (reason) {
    case Reason::exception:
      return "exception";
    case Reason::timeout:
      return "timeout";
    case Reason::rejected:
      return "rejected";
    case Reason::undecodable:
      return "undecodable";
    case Reason::max_attempts:
      return "max-attempts";
    case Reason::deadline:
      return "deadline";
    case Reason::crash:
      return "crash";
  }
  return "exception";
}

Failure describe(const std::exception_ptr& error, std::uint32_t runs) {
  Failure failure{.runs = runs};
  if (error == nullptr) return failure;
  try {
    std::rethrow_exception(error);
  } catch (const Undecodable& undecodable) {
    failure.reason = Reason::undecodable;
    failure.error_type = name_of(typeid(undecodable));
    failure.error_message = text_of(undecodable.what());
  } catch (const Park& park) {
    failure.reason = Reason::rejected;
    failure.error_type = name_of(typeid(park));
    failure.error_message = text_of(park.what());
  } catch (const std::exception& exception) {
    failure.error_type = name_of(typeid(exception));
    failure.error_message = text_of(exception.what());
  } catch (const std::string& text) {
    failure.error_type = "std::string";
    failure.error_message = text;
  } catch (const char* text) {
    failure.error_type = current_type();
    failure.error_message = text_of(text);
  } catch (...) {
    failure.error_type = current_type();
    failure.error_message = "an exception that is no std::exception: " + failure.error_type;
  }
  return failure;
}

}  // namespace warren::inline v0::retry
