#include "engine/channel_core.hpp"

#include <fmt/format.h>

#include "wire/malformed.hpp"

namespace warren::inline v0::engine {
namespace {

namespace id = wire::id;

[[noreturn]] void raise(const ErrorDetails& error, const std::string& operation) {
  ErrorDetails details = error;
  details.operation = operation;
  if (details.scope == ErrorScope::connection) throw ConnectionError(std::move(details));
  throw ChannelError(std::move(details));
}

// 403, 404, 405 and 406 stay as they are until somebody changes the broker or the call.
bool is_permanent(std::uint16_t code) { return code >= 402 && code <= 406 && code != 405; }

bool answers(std::uint32_t method, std::uint32_t expected) {
  return method == expected || (expected == id::basic_get_ok && method == id::basic_get_empty);
}

}  // namespace

void ChannelCore::set_sink(std::weak_ptr<ChannelSink> sink) {
  const std::lock_guard lock(mutex_);
  sink_ = std::move(sink);
}

bool ChannelCore::is_open() const {
  const std::lock_guard lock(mutex_);
  return !error_;
}

void ChannelCore::check_open(const std::string& operation) const {
  if (error_) raise(*error_, operation);
}

Reply ChannelCore::wait(std::unique_lock<std::mutex> lock, Waiter& waiter, const std::string& operation,
                        Deadline deadline) {
  if (!waiter.answered.wait_until(lock, deadline, [&] { return waiter.done; })) {
    // It stays in the queue, so that the answers behind its own find their callers.
    throw TimeoutError({.operation = operation, .text = "no answer before the deadline", .in_doubt = true});
  }
  if (waiter.error) raise(*waiter.error, operation);
  return std::move(waiter.reply);
}

void ChannelCore::answer(Reply reply) {
  const std::lock_guard lock(mutex_);
  if (waiters_.empty() || !answers(reply.method, waiters_.front()->expected)) {
    throw wire::MalformedFrame(fmt::format("an answer {:#010x} that nobody asked for", reply.method));
  }
  Waiter& waiter = *waiters_.front();
  waiter.reply = std::move(reply);
  waiter.done = true;
  waiter.answered.notify_all();
  waiters_.pop_front();
}

void ChannelCore::fail(const ErrorDetails& error) {
  assembler_.reset();
  std::shared_ptr<ChannelSink> sink;
  {
    const std::lock_guard lock(mutex_);
    if (error_) return;
    error_ = error;
    for (const auto& waiter : waiters_) {
      waiter->error = error;
      waiter->done = true;
      waiter->answered.notify_all();
    }
    waiters_.clear();
    sink = sink_.lock();
  }
  if (sink) sink->on_closed(error);
}

ChannelCore::After ChannelCore::on_frame(const wire::Frame& frame, wire::MethodDecoder& decoder) {
  if (frame.type == wire::FrameType::method) return on_method(decoder.decode(frame.payload));
  if (ContentAssembler::ContentPtr content = assembler_.add(frame)) deliver(std::move(content));
  return After::nothing;
}

void ChannelCore::deliver(ContentAssembler::ContentPtr content) {
  if (content->method == id::basic_get_ok) {
    Reply reply{.method = content->method, .message_count = content->message_count};
    reply.content = std::move(content);
    answer(std::move(reply));
    return;
  }
  std::shared_ptr<ChannelSink> sink;
  {
    const std::lock_guard lock(mutex_);
    sink = sink_.lock();
  }
  if (!sink) return;
  if (content->method == id::basic_return) {
    sink->on_return(std::move(content));
  } else {
    sink->on_delivery(std::move(content));
  }
}

ChannelCore::After ChannelCore::on_method(const wire::InboundMethod& method) {
  // channel.close may come at any point, even within a content.
  if (method.id == id::channel_close) {
    fail({.code = method.code,
          .text = std::string(method.text),
          .scope = ErrorScope::channel,
          .permanent = is_permanent(method.code)});
    return After::send_close_ok;
  }
  if (assembler_.open()) throw wire::MalformedFrame("a method within a message on the same channel");

  switch (method.id) {
    case id::basic_deliver:
    case id::basic_return:
    case id::basic_get_ok:
      assembler_.begin(method);
      return After::nothing;
    case id::channel_close_ok:
      answer({.method = method.id});
      fail({.text = "the channel is closed", .scope = ErrorScope::channel});
      return After::closed;
    case id::channel_flow:
      return After::nothing;  // RabbitMQ does not send it
    case id::basic_ack:
    case id::basic_nack:
    case id::basic_cancel:
      break;
    default:
      answer({.method = method.id,
              .name = std::string(method.name),
              .message_count = method.message_count,
              .consumer_count = method.consumer_count});
      return After::nothing;
  }
  std::shared_ptr<ChannelSink> sink;
  {
    const std::lock_guard lock(mutex_);
    sink = sink_.lock();
  }
  if (!sink) return After::nothing;
  if (method.id == id::basic_cancel) {
    sink->on_cancel();
  } else if (!sink->on_confirm(method.delivery_tag, method.multiple, method.id == id::basic_ack)) {
    throw wire::MalformedFrame("a confirm for a number that was never given out");
  }
  return After::nothing;
}

}  // namespace warren::inline v0::engine
