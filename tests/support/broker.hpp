#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <warren/connection_options.hpp>
#include <warren/uri.hpp>

/// What the tests stand on: brokers, proxies, waiting for conditions. No part of the library.
namespace support {

using namespace std::chrono_literals;

/// A RabbitMQ node that tests/support/private_broker.sh runs in a folder.
class Broker {
 public:
  Broker(std::string url, std::string folder) : url_(std::move(url)), folder_(std::move(folder)) {}

  [[nodiscard]] const std::string& url() const noexcept { return url_; }
  [[nodiscard]] warren::Endpoint endpoint() const { return warren::Uri::parse(url_).endpoint; }
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }

  /// Major and minor, as the broker says them to whoever connects: {3, 10}. Blocks for a round trip.
  [[nodiscard]] std::pair<int, int> version() const;

  /// Runs rabbitmqctl against the node and returns what it printed. Blocks for a second or two.
  /// @throws std::runtime_error  it failed; its own words are on stderr
  std::string ctl(const std::vector<std::string>& arguments) const;
  /// The same for the tabular commands (list_queues, list_connections, …), without headings: rows of columns.
  [[nodiscard]] std::vector<std::vector<std::string>> list(std::vector<std::string> arguments) const;

  /// Returns once the node has a memory alarm: then it blocks connections that publish.
  void begin_memory_alarm() const;
  void end_memory_alarm() const;

 protected:
  std::string url_;
  std::string folder_;
};

/// The broker of the whole run: AMQP_URL and, for ctl(), WARREN_TEST_BROKER_DIR, which tests/run.sh exports.
/// @throws std::runtime_error  AMQP_URL is not set
const Broker& shared_broker();

/// A broker of a test's own, to be stopped, killed or configured. Takes some seconds to start.
class PrivateBroker : public Broker {
 public:
  /// @param conf  lines for rabbitmq.conf; a key replaces the one that private_broker.sh sets
  /// @param shared  the folder of a cluster that it is to be a node of; see Cluster
  explicit PrivateBroker(const std::string& conf = {}, const std::string& shared = {});
  /// Ends the node and deletes its folder.
  ~PrivateBroker();
  PrivateBroker(const PrivateBroker&) = delete;
  PrivateBroker& operator=(const PrivateBroker&) = delete;

  void stop();     ///< graceful
  void kill();     ///< SIGKILL
  void restart();  ///< on the same port and data, after any of the two, or instead

  /// A port that no other broker gets, for a further listener of this one.
  [[nodiscard]] std::uint16_t spare_port() const;
};

/// Makes a folder for a broker, where whoever ends the shared one finds what a crashed test left.
std::string new_broker_folder(std::string_view prefix);
/// Ends the broker of a folder, or what the nodes of a cluster had in common there, and deletes the folder.
void end_broker_folder(const std::string& folder) noexcept;

/// A name that no other test has, in this run or one beside it.
std::string unique_name(std::string_view prefix);

/// For a test on its own connection: deadlines that are generous under a sanitizer and end a hang all the
/// same. Without recovery, which has tests of its own in faults/: a lost connection stays lost.
warren::ConnectionOptions test_options(std::string name = {});

/// What a busy machine may add to a call that ends by its deadline, or at once. A deadline plus this is below
/// the other deadlines of test_options(): a bound of both tells which deadline ended the call.
inline constexpr std::chrono::milliseconds slack = 5s;

/// Polls until the condition holds; false if it does not in time, which is less than two heartbeats of
/// test_options().
template <typename Condition>
bool eventually(Condition&& holds, std::chrono::milliseconds within = 30s) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  for (;;) {
    if (holds()) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// How long a call takes.
template <typename Call>
std::chrono::milliseconds time_of(Call&& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
}

/// How long a login takes now, on a machine that may be busy, with a broker that may be starting. A bound for
/// what is measured beside it can be relative to that. Retries until the broker takes the login.
std::chrono::milliseconds time_of_login(const warren::Endpoint& endpoint);

}  // namespace support
