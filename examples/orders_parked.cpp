// Lists what rests in `orders_parked`, with its reason, sends it back to the queue it failed in, or deletes
// it.

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/order.hpp"
#include "common/program.hpp"

using namespace examples;

namespace {

struct Options {
  BrokerOptions broker{};
  std::string reason{};
  std::optional<double> older_than{};  // seconds
  std::optional<std::uint64_t> limit{};
  bool dry_run = false;
  /// Where a replay may send to. Anybody who may publish to the parked queue writes the header that names it.
  std::vector<std::string> only{orders_queue, retry_queue};
};

warren::ParkedSelection selection_of(const Options& options, const std::stop_token& stop) {
  warren::ParkedSelection selection{
      .reason = options.reason, .limit = options.limit, .dry_run = options.dry_run, .stop = stop};
  if (options.older_than) {
    selection.failed_before = std::chrono::system_clock::now() - to_milliseconds(*options.older_than);
  }
  return selection;
}

std::string order_of(const warren::ParkedMessage& parked) {
  try {
    return parse_order(parked.message.body()).id;
  } catch (const warren::Undecodable&) {
    return "(undecodable)";
  }
}

std::string or_unknown(const std::string& text) { return text.empty() ? "unknown" : one_line(text); }

void print_parked(const warren::ParkedMessage& parked) {
  print_line("Parked order " + order_of(parked) + ": " + or_unknown(parked.reason) + " after " +
             std::to_string(parked.attempts) + " attempts: " + or_unknown(parked.error_message));
}

// Says what a call did not do. The program's exit code.
int report(const warren::ParkedResult& result) {
  for (const warren::ParkedFailure& failure : result.failures) {
    print_error(std::to_string(failure.messages) + " stay parked" +
                (failure.queue.empty() ? "" : ", for `" + failure.queue + "`") + ": " + failure.why);
  }
  if (result.ended_by) print_error("Ended early: " + result.ended_by->text);
  return result.failures.empty() && !result.ended_by ? 0 : 1;
}

int tell(const char* done, const char* would, const Options& options, const warren::ParkedResult& result) {
  std::uint64_t would_be = result.selected;
  for (const warren::ParkedFailure& failure : result.failures) would_be -= failure.messages;
  print_line((options.dry_run ? would : done) +
             (" " + std::to_string(options.dry_run ? would_be : result.done)) + " of " +
             std::to_string(result.seen) + " parked orders");
  return report(result);
}

}  // namespace

int main(int argc, char** argv) {
  warren::StopOnSignal stop{SIGINT, SIGTERM};
  CLI::App app{"Shows, replays or deletes what could not be processed", "orders_parked"};
  Options options;
  add_to(app, options.broker);
  app.fallthrough();  // taken over by the subcommands: options may stand behind them
  const auto* list = app.add_subcommand("list", "Lists the parked orders; nothing is consumed");
  const auto* replay = app.add_subcommand("replay", "Sends parked orders back to the queue they failed in");
  app.add_subcommand("discard", "Deletes parked orders");
  app.add_option("--reason", options.reason,
                 "Only those parked for it: max-attempts, rejected, undecodable, crash, …");
  app.add_option("--older-than", options.older_than, "Only those whose last failure was so many seconds ago")
      ->check(between(0, 1e9));
  app.add_option("--limit", options.limit, "So many at most")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000'000'000}));
  app.add_option(
         "--only", options.only,
         "The queue that replay may send to (more than one: repeat it); orders for others stay parked")
      ->allow_extra_args(false)
      ->capture_default_str();
  app.add_flag("--dry-run", options.dry_run, "Only says how many it would be");
  app.require_subcommand(1);
  return run_program(app, argc, argv, [&] {
    warren::Connection connection = connect(options.broker, "orders parked", stop.token());
    {
      warren::Channel channel = connection.open_channel();
      declare_orders(channel);
    }
    warren::ParkingLot lot{connection, parked_queue, {.allowed_queues = options.only}};
    const warren::ParkedSelection selection = selection_of(options, stop.token());
    if (list->parsed()) return report(lot.inspect(print_parked, selection));
    if (replay->parsed()) return tell("Replayed", "Would replay", options, lot.replay(selection));
    return tell("Discarded", "Would discard", options, lot.discard(selection));
  });
}
