#include <warren/error.hpp>

#include <fmt/format.h>

#include "values/printable.hpp"

namespace warren::inline v0 {
namespace {

// Makes the texts printable, and returns the text of what().
std::string describe(ErrorDetails& details) {
  make_printable(details);
  std::string what = details.operation;
  if (details.code != 0) what += fmt::format("{}{}", what.empty() ? "" : ": ", details.code);
  if (!details.text.empty())
    what += fmt::format("{}{}", what.empty() ? "" : details.code != 0 ? " " : ": ", details.text);
  if (details.in_doubt) what += " (in doubt: it may have happened)";
  return what;
}

}  // namespace

Error::Error(ErrorDetails details) : std::runtime_error(describe(details)), details_(std::move(details)) {}
Error::~Error() = default;

// Constructors and destructors are out of line, so that each class has its type information in one place.
InvalidArgument::InvalidArgument(ErrorDetails details) : Error(std::move(details)) {}
InvalidArgument::~InvalidArgument() = default;
LogicError::LogicError(ErrorDetails details) : InvalidArgument(std::move(details)) {}
LogicError::~LogicError() = default;
ConnectionError::ConnectionError(ErrorDetails details) : Error(std::move(details)) {}
ConnectionError::~ConnectionError() = default;
ChannelError::ChannelError(ErrorDetails details) : Error(std::move(details)) {}
ChannelError::~ChannelError() = default;
TimeoutError::TimeoutError(ErrorDetails details) : Error(std::move(details)) {}
TimeoutError::~TimeoutError() = default;
BlockedError::BlockedError(ErrorDetails details) : TimeoutError(std::move(details)) {}
BlockedError::~BlockedError() = default;
NackedError::NackedError(ErrorDetails details) : Error(std::move(details)) {}
NackedError::~NackedError() = default;
ReturnedError::ReturnedError(ErrorDetails details) : Error(std::move(details)) {}
ReturnedError::~ReturnedError() = default;
ConsumerCancelledError::ConsumerCancelledError(ErrorDetails details) : Error(std::move(details)) {}
ConsumerCancelledError::~ConsumerCancelledError() = default;

}  // namespace warren::inline v0
