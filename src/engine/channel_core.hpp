#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <warren/error.hpp>

#include "engine/content_assembler.hpp"
#include "engine/outbox.hpp"
#include "wire/method_decoder.hpp"
#include "wire/methods.hpp"

namespace warren::inline v0::engine {

/// What a channel tells its publisher or consumer. Called on the I/O thread, with no lock of the channel's held.
class ChannelSink {
 public:
  virtual ~ChannelSink() = default;
  virtual void on_delivery(ContentAssembler::ContentPtr) {}
  virtual void on_return(ContentAssembler::ContentPtr) {}
  /// basic.ack and basic.nack. False is a fault of the broker's: such a number was never given out.
  virtual bool on_confirm(std::uint64_t /*tag*/, bool /*multiple*/, bool /*acknowledged*/) { return true; }
  virtual void on_cancel() {}
  /// The channel takes nothing more. Its last call; nothing may be appended for it after this has returned.
  virtual void on_closed(const ErrorDetails&) {}
};

/// What the broker answered to a synchronous method.
struct Reply {
  std::uint32_t method = 0;
  std::string name{};  ///< queue or consumer tag
  std::uint32_t message_count = 0;
  std::uint32_t consumer_count = 0;
  ContentAssembler::ContentPtr content{};  ///< of basic.get-ok
};

/// One channel: its state, who waits for which answer, and what is to be settled. Any thread calls, the I/O
/// thread answers. Answers come in the order of the calls (AMQP 0-9-1 section 2.2.1), so that calls of many
/// threads may be under way at once.
class ChannelCore {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  ChannelCore(Outbox& outbox, std::uint16_t number) : outbox_(outbox), number_(number) {}

  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }
  /// Before the first delivery or confirm can come. The sink must outlive the channel's last frame.
  void set_sink(std::weak_ptr<ChannelSink> sink);

  /// Sends a method and waits for its answer. `encode(Bytes&, channel)` appends one frame or throws.
  /// @throws ChannelError, ConnectionError  the channel or connection is gone
  /// @throws TimeoutError                   in doubt: the answer may still come, and is then dropped
  template <typename Encode>
  Reply call(const std::string& operation, std::uint32_t expected, Deadline deadline, Encode&& encode) {
    auto waiter = std::make_shared<Waiter>();
    waiter->expected = expected;
    std::unique_lock lock(mutex_);
    check_open(operation);
    waiters_.push_back(waiter);
    try {
      append(operation, Outbox::Entry::control, encode);
    } catch (...) {
      waiters_.pop_back();
      throw;
    }
    return wait(std::move(lock), *waiter, operation, deadline);
  }

  /// Appends frames that have no answer (a settlement, a raw publish).
  /// @returns false where the outbox is full
  template <typename Encode>
  bool send(const std::string& operation, Outbox::Entry entry, Encode&& encode) {
    const std::lock_guard lock(mutex_);
    check_open(operation);
    return append(operation, entry, encode);
  }

  /// Whether calls can still succeed.
  [[nodiscard]] bool is_open() const;

  // --- the I/O thread's ---

  /// What the connection must do after a frame.
  enum class After { nothing, send_close_ok, closed };
  /// @throws wire::MalformedFrame  the connection is to be closed
  After on_frame(const wire::Frame& frame, wire::MethodDecoder& decoder);
  /// Fails everybody who waits, and everything that comes.
  void fail(const ErrorDetails& error);

 private:
  struct Waiter {
    std::uint32_t expected = 0;
    bool done = false;
    std::optional<ErrorDetails> error{};
    Reply reply{};
    std::condition_variable answered{};
  };

  void check_open(const std::string& operation) const;
  template <typename Encode>
  bool append(const std::string& operation, Outbox::Entry entry, Encode&& encode) {
    switch (outbox_.append(entry, [&](Bytes& out) { encode(out, number_); })) {
      case Outbox::Admission::accepted:
        return true;
      case Outbox::Admission::full:
        return false;
      case Outbox::Admission::closed:
        break;
    }
    throw ConnectionError(
        {.operation = operation, .text = "the connection is closed", .scope = ErrorScope::connection});
  }
  Reply wait(std::unique_lock<std::mutex> lock, Waiter& waiter, const std::string& operation, Deadline deadline);
  void answer(Reply reply);
  After on_method(const wire::InboundMethod& method);
  void deliver(ContentAssembler::ContentPtr content);

  Outbox& outbox_;
  const std::uint16_t number_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<Waiter>> waiters_;
  std::optional<ErrorDetails> error_;  // set: closed
  std::weak_ptr<ChannelSink> sink_;
  ContentAssembler assembler_;  // the I/O thread's own
};

}  // namespace warren::inline v0::engine
