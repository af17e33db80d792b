// Publishes orders, and says `Queued order <id>` of each once the broker has it.

#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "common/order.hpp"
#include "common/program.hpp"

using namespace examples;

namespace {

struct Options {
  BrokerOptions broker{};
  std::vector<std::string> ids{};
  std::uint64_t count = 0;
  std::uint64_t first = 1;
  double timeout = 60;
};

// Confirms come in any order, lines in the order of the orders.
class Ledger {
 public:
  explicit Ledger(std::uint64_t total)
      : total_(total), progress_(total >= 1'000 && ::isatty(STDERR_FILENO) == 1) {}

  void add(std::string id, warren::Confirmation confirmation) {
    pending_.emplace_back(std::move(id), std::move(confirmation));
    while (!pending_.empty() && pending_.front().second.outcome() != warren::PublishOutcome::pending)
      settle_first();
  }
  void wait_for_all() {
    while (!pending_.empty()) settle_first();
  }
  void failed(const std::string& id, const warren::Error& error) {
    ++failed_;
    print_error("Order " + id + (error.in_doubt() ? " is in doubt: " : " is not queued: ") + error.what());
  }
  [[nodiscard]] std::uint64_t queued() const noexcept { return queued_; }
  [[nodiscard]] std::uint64_t failures() const noexcept { return failed_; }

 private:
  void settle_first() {
    auto [id, confirmation] = std::move(pending_.front());
    pending_.pop_front();
    try {
      confirmation.wait();
      print_line("Queued order " + id);
      if (++queued_; progress_ && queued_ % 1'000 == 0) {
        print_error(std::to_string(queued_) + " of " + std::to_string(total_) + " orders queued");
      }
    } catch (const warren::Error& error) {
      failed(id, error);
    }
  }

  std::deque<std::pair<std::string, warren::Confirmation>> pending_;
  const std::uint64_t total_;
  const bool progress_;
  std::uint64_t queued_ = 0;
  std::uint64_t failed_ = 0;
};

int produce(const Options& options, const std::stop_token& stop) {
  warren::Connection connection = connect(options.broker, "orders producer", stop);
  {
    warren::Channel channel = connection.open_channel();
    declare_orders(channel);
  }
  warren::Publisher publisher{connection,
                              {.exchange = orders_exchange,
                               .routing_key = orders_queue,
                               .timeout = to_milliseconds(options.timeout)}};

  const std::uint64_t total = options.ids.empty() ? options.count : options.ids.size();
  Ledger ledger{total};
  // What comes behind a failure would fare no better, and take as long to fail.
  for (std::uint64_t i = 0; i < total && !stop.stop_requested() && ledger.failures() == 0; ++i) {
    const std::string id = options.ids.empty() ? std::to_string(options.first + i) : options.ids[i];
    try {
      ledger.add(id, publisher.publish_async(order_message(id_to_json(id))));
    } catch (const warren::Error& error) {
      ledger.failed(id, error);
    }
  }
  ledger.wait_for_all();
  if (ledger.queued() != total) {
    print_error(std::to_string(ledger.queued()) + " of " + std::to_string(total) + " orders are queued");
  }
  return ledger.failures() == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  warren::StopOnSignal stop{SIGINT, SIGTERM};
  CLI::App app{"Publishes orders to the queue `orders`", "orders_producer"};
  Options options;
  add_to(app, options.broker);
  auto* ids = app.add_option("order_id", options.ids, "Orders to publish; digits only become a JSON integer")
                  ->check([](const std::string& id) {
                    return is_id(id) ? "" : "an order's id is one line of UTF-8, not empty";
                  });
  auto* count = app.add_option("--count", options.count, "Publishes so many orders, numbered")
                    ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000'000'000}))
                    ->excludes(ids);
  app.add_option("--first", options.first, "Number of the first one")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1'000'000'000'000'000}))
      ->needs(count)
      ->capture_default_str();
  app.add_option("--timeout", options.timeout, "Seconds for each order to be confirmed")
      ->check(between(0.001, 86'400))
      ->capture_default_str();
  app.callback([&] {
    if (options.ids.empty() && options.count == 0) throw CLI::RequiredError("order_id or --count");
  });
  return run_program(app, argc, argv, [&] { return produce(options, stop.token()); });
}
