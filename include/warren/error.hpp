#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <warren/export.hpp>

namespace warren::inline v0 {

/// What is closed because of an error.
enum class ErrorScope {
  operation,   ///< only the call that threw
  channel,     ///< the channel is closed; a new one can be opened on the same connection
  connection,  ///< the connection is closed, with all its channels
};

/// The properties of an Error.
struct ErrorDetails {
  std::string operation{};  ///< what was attempted, in AMQP's terms, for example `queue.declare "orders"`
  std::uint16_t code = 0;   ///< the AMQP reply code (see reply_code), or 0 if the broker sent none
  /// What happened, in the broker's or the system's words. It is safe to print in errors that warren throws.
  std::string text{};
  ErrorScope scope = ErrorScope::operation;  ///< what is closed because of the error
  bool permanent = false;                    ///< permanent error: the same call can never succeed
  bool in_doubt = false;                     ///< the operation may have taken effect despite the error
};

/// Base class of all exceptions that warren throws.
///
/// A program should decide by the properties first: permanent(), in_doubt() and scope(). The class tells the
/// kind of error. operation(), text() and what() may contain texts of the broker and names that other
/// programs chose. They are safe to print (see printable()).
class WARREN_EXPORT Error : public std::runtime_error {
 public:
  explicit Error(ErrorDetails details);  ///< thrown by warren; public for tests
  ~Error() override;

  /// What was attempted, in AMQP's terms.
  [[nodiscard]] const std::string& operation() const noexcept { return details_.operation; }
  /// The AMQP reply code (https://www.rabbitmq.com/amqp-0-9-1-reference#constants), or 0 if there is none.
  [[nodiscard]] std::uint16_t code() const noexcept { return details_.code; }
  /// What happened, in the broker's or the system's words, made safe to print by printable().
  [[nodiscard]] const std::string& text() const noexcept { return details_.text; }
  /// Whether the channel or the connection is closed because of this error.
  [[nodiscard]] ErrorScope scope() const noexcept { return details_.scope; }
  /// Whether this is a permanent error: the same call can never succeed. Examples are a wrong password, an
  /// invalid value, and arguments that differ from those of an existing queue.
  [[nodiscard]] bool permanent() const noexcept { return details_.permanent; }
  /// Whether the operation may have taken effect despite the error. warren never repeats such a call
  /// silently.
  [[nodiscard]] bool in_doubt() const noexcept { return details_.in_doubt; }

  /// All properties in one struct.
  [[nodiscard]] const ErrorDetails& details() const noexcept { return details_; }

 private:
  ErrorDetails details_;
};

/// An argument that is never valid, for example a malformed URI or a routing key above 255 bytes. Nothing was
/// sent.
class WARREN_EXPORT InvalidArgument : public Error {
 public:
  explicit InvalidArgument(ErrorDetails details);  ///< thrown by warren; public for tests
  ~InvalidArgument() override;
};

/// A call that is not possible in the object's present state, whatever the arguments. Nothing was done.
///
/// For example, the object was moved from, or it belongs to the parent of this forked process. Other examples
/// are a consumer that already runs, and a handler that waits for the end of its own consumer. LogicError
/// derives from InvalidArgument, so one catch clause handles both kinds of programming mistakes.
class WARREN_EXPORT LogicError : public InvalidArgument {
 public:
  explicit LogicError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~LogicError() override;
};

/// The connection could not be opened, was lost, or is closed.
class WARREN_EXPORT ConnectionError : public Error {
 public:
  explicit ConnectionError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ConnectionError() override;
};

/// The broker closed the channel (403, 404, 405, 406, …), or the channel was already closed.
class WARREN_EXPORT ChannelError : public Error {
 public:
  explicit ChannelError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ChannelError() override;
};

/// The operation did not finish before its deadline.
class WARREN_EXPORT TimeoutError : public Error {
 public:
  explicit TimeoutError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~TimeoutError() override;
};

/// The operation did not finish before its deadline because the broker blocked the connection for a resource
/// alarm (https://www.rabbitmq.com/docs/alarms). The text holds the broker's reason.
class WARREN_EXPORT BlockedError : public TimeoutError {
 public:
  explicit BlockedError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~BlockedError() override;
};

/// The broker answered a publish with `basic.nack`: it took no responsibility for the message.
///
/// The publish is in doubt: the message may be in one of several queues, or in a quorum queue that had no
/// leader. Wait before you publish it again, because RabbitMQ sends nacks without any delay
/// (https://www.rabbitmq.com/docs/confirms#server-sent-nacks).
class WARREN_EXPORT NackedError : public Error {
 public:
  explicit NackedError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~NackedError() override;
};

/// The broker returned a mandatory message as unroutable: no queue is bound for its routing key
/// (`basic.return`, code 312).
class WARREN_EXPORT ReturnedError : public Error {
 public:
  explicit ReturnedError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ReturnedError() override;
};

/// The broker ended a subscription (`basic.cancel`) because the queue was deleted or its node went down.
class WARREN_EXPORT ConsumerCancelledError : public Error {
 public:
  explicit ConsumerCancelledError(ErrorDetails details);  ///< thrown by warren; public for tests
  ~ConsumerCancelledError() override;
};

/// The name of the enumerator, for example `operation`, or `unknown` for any other value. Never throws.
[[nodiscard]] WARREN_EXPORT const char* to_string(ErrorScope scope) noexcept;

}  // namespace warren::inline v0
