#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <warren/delivery.hpp>
#include <warren/exchange_options.hpp>
#include <warren/message.hpp>
#include <warren/queue_options.hpp>

#include "engine/request.hpp"
#include "engine/session.hpp"

/// @file
/// The requests of a Channel, a Queue and an Exchange to the broker. The connection records what they
/// declare, to declare it again after a recovery. Each blocks until the broker answers, at most
/// ConnectionOptions::operation_timeout. Any name that a queue ever had is accepted.
namespace warren::inline v0::engine {

/// The broker's answer to the declaration of a queue.
struct DeclaredQueue {
  std::string name{};
  std::uint32_t message_count = 0;
  std::uint32_t consumer_count = 0;
};

/// @throws ConnectionError  541, permanent: the broker refuses queues that are neither durable nor exclusive
DeclaredQueue declare_queue(Session& session, std::string_view name, const QueueOptions& options);
/// Checks that a queue exists. @throws ChannelError  404
DeclaredQueue find_queue(Session& session, std::string_view name);
std::uint32_t purge_queue(Session& session, std::string_view queue);
std::uint32_t delete_queue(Session& session, std::string_view queue, RemoveOptions options);

void declare_exchange(Session& session, std::string_view name, const ExchangeOptions& options);
/// Checks that an exchange exists. @throws ChannelError  404
void find_exchange(Session& session, std::string_view name);
void delete_exchange(Session& session, std::string_view name, RemoveExchangeOptions options);

void bind(Session& session, BindingRecord binding);
void unbind(Session& session, BindingRecord binding);

/// @throws Error  the message's properties cannot be read; the message is requeued, except with NoAck::yes
std::optional<Delivery> get(Session& session, std::string_view queue, NoAck no_ack);
/// Publishes without a confirm. @throws TimeoutError, BlockedError  there was no room to write before the
/// deadline
void publish(Session& session, std::string_view exchange, std::string_view routing_key,
             const Message& message);

}  // namespace warren::inline v0::engine
