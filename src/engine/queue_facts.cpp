#include "engine/queue_facts.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <warren/error.hpp>
#include <warren/reply_code.hpp>

#include "engine/arguments.hpp"
#include "engine/request.hpp"
#include "wire/broker_text.hpp"

namespace warren::inline v0::engine {
namespace {

constexpr int most_questions = 10;  // the most arguments of a queue that may hide the one that is asked for

// Arguments that a stream has and other queues lack, or that a stream compares before other queues do.
constexpr std::array of_streams = {std::string_view("x-max-age"),
                                   std::string_view("x-stream-max-segment-size-bytes"),
                                   std::string_view("x-max-length-bytes"),
                                   std::string_view("x-stream-filter-size-bytes"),
                                   std::string_view("x-initial-cluster-size"),
                                   std::string_view("x-queue-leader-locator")};

// Declares the queue on a channel of its own, without recording it for recovery. Returns the broker's
// refusal; nullopt if it accepts.
std::optional<ErrorDetails> refusal(ConnectionCore& connection, const std::string& queue,
                                    wire::QueueFlags flags, const FieldTable& arguments) {
  const QueueRecord record{.name = queue, .flags = flags, .arguments = arguments};
  const auto deadline = connection.operation_deadline();
  return connection.unless_lost(deadline, [&]() -> std::optional<ErrorDetails> {
    connection.await_open("queue.declare", deadline);
    const auto channel = connection.open_channel(deadline);
    try {
      ask(*channel, request::declare_queue(record), deadline);
    } catch (const ChannelError& error) {
      return channel->closed_by().value_or(error.details());  // the raw text
    } catch (...) {
      channel->give_up();
      throw;
    }
    channel->give_up();
    return std::nullopt;
  });
}

std::optional<QueueRecord> record_of(ConnectionCore& connection, const std::string& queue) {
  for (QueueRecord& record : connection.topology().snapshot().queues) {
    if (record.name == queue) return std::move(record);
  }
  return std::nullopt;
}

// If the text was cut (because of a long name), the value is missing. Any queue that is not a stream reports
// x-dead-letter-exchange first.
bool names_stream(const wire::Inequivalent& told) {
  if (told.argument == "x-queue-type") return !told.current || told.current == FieldValue("stream");
  return std::ranges::find(of_streams, told.argument) != of_streams.end();
}

}  // namespace

bool is_stream(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue) {
  const std::string name = connection->topology().current_name(queue);
  if (auto record = record_of(*connection, name)) {
    if (const FieldValue* type = record->arguments.find("x-queue-type"))
      return type->as_string() == std::string_view("stream");
    if (!record->flags.durable || record->flags.exclusive || record->flags.auto_delete) return false;
    // The queue has the virtual host's default type, which is usually classic. In that case the broker
    // accepts the declaration, and logs nothing.
    record->arguments.set("x-queue-type", "classic");
    if (!refusal(*connection, name, record->flags, record->arguments)) return false;
  }
  // A quorum queue cannot have priorities, so this declaration creates no queue. For every queue but a
  // stream, the broker compares the dead-letter exchange first.
  const auto refused = refusal(*connection, name, {.durable = true},
                               {{"x-queue-type", "quorum"},
                                {"x-dead-letter-exchange", "warren asks for the type"},
                                {"x-max-priority", std::int64_t{1}}});
  return refused && refused->code == reply_code::precondition_failed &&
         names_stream(wire::read_inequivalent(refused->text));
}

bool is_declared_as(const std::shared_ptr<ConnectionCore>& connection, const std::string& queue,
                    const QueueOptions& options) {
  return !refusal(
      *connection, connection->topology().current_name(queue),
      {.durable = options.durable, .exclusive = options.exclusive, .auto_delete = options.auto_delete},
      queue_arguments(options));
}

std::optional<DeliveryLimit> delivery_limit(const std::shared_ptr<ConnectionCore>& connection,
                                            const std::string& queue) {
  const std::string name = connection->topology().current_name(queue);
  // No queue has this limit. No quorum queue can have priorities, so this declaration creates no queue.
  constexpr std::int64_t nobodys_limit = 1'234'567'891;
  FieldTable arguments{
      {"x-queue-type", "quorum"}, {"x-delivery-limit", nobodys_limit}, {"x-max-priority", std::int64_t{1}}};
  for (int questions = 0; questions < most_questions; ++questions) {
    const auto refused = refusal(*connection, name, {.durable = true}, arguments);
    if (!refused || refused->code != reply_code::precondition_failed) return std::nullopt;
    const wire::Inequivalent told = wire::read_inequivalent(refused->text);
    if (told.argument == "x-delivery-limit") {
      const auto limit = told.current ? told.current->as_integer() : std::nullopt;
      return DeliveryLimit{.is_quorum = true, .limit = limit};
    }
    // If the broker compares priorities, the queue is not a quorum queue. Neither is it if it is not durable.
    if (told.argument.empty() || told.argument == "x-queue-type" || told.argument == "x-max-priority" ||
        told.argument == "durable" || told.argument == "auto_delete")
      return DeliveryLimit{};
    if (!told.current) return std::nullopt;
    arguments.set(told.argument, *told.current);  // it hides the limit: ask again with the queue's value
  }
  return std::nullopt;
}

}  // namespace warren::inline v0::engine
