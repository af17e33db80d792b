#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <warren/exchange.hpp>
#include <warren/export.hpp>
#include <warren/field_table.hpp>
#include <warren/queue_options.hpp>

namespace warren::inline v0 {

/// A queue that was declared. Copies stand for the same queue.
/// Calls on a moved-from Queue throw LogicError.
///
/// A Queue works as long as its connection does. Its calls use the channel that declared it while that is
/// open. If that channel is gone, or was closed by the broker or by the program, they use a channel that the
/// Queue and its copies open for themselves, and which is closed with the last of them. Exclusive queues and
/// queues that the broker named work this way, too.
///
/// Any thread. Each call that asks the broker blocks until it answers, at most
/// ConnectionOptions::operation_timeout. It throws ChannelError if the broker refused (which closes the
/// channel that the call used), ConnectionError if the connection is closed or lost, or TimeoutError.
class WARREN_EXPORT Queue {
 public:
  /// The queue's name. If the broker chose it, each recovery of the connection gives the queue another name;
  /// for that reason this returns a copy, not a reference.
  [[nodiscard]] std::string name() const;
  /// Messages ready when it was declared.
  [[nodiscard]] std::uint32_t message_count() const noexcept { return message_count_; }
  /// Consumers when it was declared.
  [[nodiscard]] std::uint32_t consumer_count() const noexcept { return consumer_count_; }

  /// Routes what the exchange gets under `routing_key` to this queue (`queue.bind`).
  /// @throws ChannelError  404 where either is missing
  void bind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// The same, by the exchange declared.
  void bind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// Takes a binding away; none of that kind is no error to RabbitMQ.
  void unbind(std::string_view exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// The same, by the exchange declared.
  void unbind(const Exchange& exchange, std::string_view routing_key, const FieldTable& arguments = {});
  /// Deletes the messages that are ready (`queue.purge`), and says how many. Quorum and classic queues only.
  std::uint32_t purge();
  /// Deletes the queue (`queue.delete`), and says how many messages went with it. A missing one is no error.
  /// @throws ChannelError  406 where `if_unused` or `if_empty` does not hold
  std::uint32_t remove(RemoveOptions options = {});

 private:
  friend class Channel;
  Queue(std::shared_ptr<engine::Session> session, std::string name, std::uint32_t messages,
        std::uint32_t consumers);
  std::shared_ptr<engine::Session> session_;
  std::string name_;
  std::uint32_t message_count_ = 0;
  std::uint32_t consumer_count_ = 0;
};

}  // namespace warren::inline v0
