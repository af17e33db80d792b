#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// What an error has taken with it.
enum class ErrorScope {
  operation,   ///< only the call that threw
  channel,     ///< the channel is closed; a new one can be opened on the same connection
  connection,  ///< the connection is closed, with all its channels
};

/// What an Error knows. `code` is an AMQP reply code (404, 406, …), or 0 where the broker did not speak.
struct ErrorDetails {
  std::string operation{};  ///< what was attempted, in AMQP's terms: `queue.declare "orders"`
  std::uint16_t code = 0;   ///< AMQP reply code, or 0
  std::string text{};       ///< the broker's words, or the system's; safe to print in what warren hands out
  ErrorScope scope = ErrorScope::operation;  ///< what is gone
  bool permanent = false;                    ///< trying the same again cannot help
  bool in_doubt = false;                     ///< it may have happened all the same
};

/// Base of everything that warren throws. Errors are told apart by their properties first, by their class
/// second.
///
/// The texts hold words of the broker's and names that others chose. They are safe to print: `operation` and
/// `text` are what printable() makes of them, and so is what().
class WARREN_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(ErrorDetails details);  ///< thrown by warren; public for tests
  ~Error() override;

  /// What was attempted, in AMQP's terms.
  [[nodiscard]] const std::string& operation() const noexcept { return details_.operation; }
  /// The AMQP reply code (https://www.rabbitmq.com/amqp-0-9-1-reference#constants), 0 where there is none.
  [[nodiscard]] std::uint16_t code() const noexcept { return details_.code; }
  /// The broker's text, or the system's, as printable() makes it.
  [[nodiscard]] const std::string& text() const noexcept { return details_.text; }
  /// Whether the channel or the connection is gone.
  [[nodiscard]] ErrorScope scope() const noexcept { return details_.scope; }
  /// Whether trying the same again is pointless (wrong password, other arguments, an invalid value).
  [[nodiscard]] bool permanent() const noexcept { return details_.permanent; }
  /// Whether it may have happened all the same. Such a call is never repeated silently.
  [[nodiscard]] bool in_doubt() const noexcept { return details_.in_doubt; }

  /// All of the above.
  [[nodiscard]] const ErrorDetails& details() const noexcept { return details_; }

 private:
  ErrorDetails details_;
};

/// An argument that can never work: a malformed URI, a routing key above 255 bytes. Nothing was sent.
class WARREN_EXPORT InvalidArgument : public Error {
 public:
  explicit InvalidArgument(ErrorDetails details);  ///< thrown by warren; public for tests
  ~InvalidArgument() override;
};

/// A call that the object can't serve in its state, whatever its arguments: it was moved from, it runs
/// already, it belongs to the process that forked this one, or a handler waits for its own consumer to end.
/// Nothing was done. It is an InvalidArgument, so that one catch clause gets both kinds of mistakes in a
/// program.
class WARREN_EXPORT LogicError : public InvalidArgument {
 public:
  explicit LogicError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~LogicError() override;
};

/// The connection could not be made, was lost, or is closed.
class WARREN_EXPORT ConnectionError : public Error {
 public:
  explicit ConnectionError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ConnectionError() override;
};

/// The broker closed the channel (404, 403, 405, 406, …), or it was closed before.
class WARREN_EXPORT ChannelError : public Error {
 public:
  explicit ChannelError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ChannelError() override;
};

/// A deadline passed.
class WARREN_EXPORT TimeoutError : public Error {
 public:
  explicit TimeoutError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~TimeoutError() override;
};

/// A deadline passed while the broker blocked the connection for a resource alarm
/// (https://www.rabbitmq.com/docs/alarms). The text holds the broker's reason.
class WARREN_EXPORT BlockedError : public TimeoutError {
 public:
  explicit BlockedError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~BlockedError() override;
};

/// The broker answered a publish with `basic.nack`: it took no responsibility for the message. In doubt: one
/// of several queues may have it, or a quorum queue that was without a leader. Pause ahead of another try:
/// RabbitMQ nacks at full speed (https://www.rabbitmq.com/docs/confirms#server-sent-nacks).
class WARREN_EXPORT NackedError : public Error {
 public:
  explicit NackedError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~NackedError() override;
};

/// The broker returned a mandatory message: no queue is bound for it (`basic.return`, code 312).
class WARREN_EXPORT ReturnedError : public Error {
 public:
  explicit ReturnedError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ReturnedError() override;
};

/// The broker ended a subscription (`basic.cancel`): the queue was deleted, or its node went down.
class WARREN_EXPORT ConsumerCancelledError : public Error {
 public:
  explicit ConsumerCancelledError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ConsumerCancelledError() override;
};

/// The enumerator's name, as `operation`; `unknown` for a value that is none. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(ErrorScope scope) noexcept;

}  // namespace warren::inline v0
