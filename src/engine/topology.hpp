#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <warren/field_table.hpp>

#include "wire/methods.hpp"

namespace warren::inline v0::engine {

struct ExchangeRecord {
  std::string name{};
  std::string type{};
  wire::ExchangeFlags flags{};
  FieldTable arguments{};
};

struct QueueRecord {
  std::string name{};  ///< the current name
  bool server_named = false;
  wire::QueueFlags flags{};
  FieldTable arguments{};
};

struct BindingRecord {
  bool to_queue = true;  ///< if false, to an exchange
  std::string destination{};
  std::string source{};
  std::string routing_key{};
  FieldTable arguments{};
  friend bool operator==(const BindingRecord&, const BindingRecord&) = default;
};

/// The entities that were declared through a connection and not deleted, so that recovery declares them
/// again. Thread-safe.
class Topology {
 public:
  using Clock = std::chrono::steady_clock;
  struct Snapshot {
    std::vector<ExchangeRecord> exchanges{};  ///< in the order of their declaration, like the other lists
    std::vector<QueueRecord> queues{};
    std::vector<BindingRecord> bindings{};
  };

  void declared(ExchangeRecord exchange);
  void declared(QueueRecord queue);
  void bound(BindingRecord binding);
  void unbound(const BindingRecord& binding);
  /// Notes a use that the broker counts for `x-expires`: basic.get, a passive declaration.
  void used(std::string_view queue);
  void exchange_gone(std::string_view name);
  void queue_gone(std::string_view name);
  /// Notes a consumer: an auto-delete queue is deleted with its last consumer.
  void consumer_added(std::string_view queue);
  void consumer_removed(std::string_view queue);
  /// Notes that a server-named queue got another name. Its old names refer to it from now on.
  void renamed(const std::string& old_name, const std::string& name);

  /// Notes a retry policy: messages that fail permanently in `queue` are moved to `lot`.
  void parks(std::string queue, std::string lot);
  /// The queues whose messages end up in `lot`, as far as this connection knows: by a retry policy, or
  /// dead-lettered through the default exchange by their declaration.
  [[nodiscard]] std::vector<std::string> parked_in(std::string_view lot) const;

  /// Forgets the queues whose `x-expires` has passed since this connection last used them (declared them, got
  /// or consumed from them). They are gone, or other clients keep them. Returns how many.
  std::size_t forget_expired(Clock::time_point now);

  /// Notes that another connection still holds a recorded queue (405). It is declared again in the
  /// background.
  void set_pending(const std::string& queue);
  void clear_pending(const std::string& queue);
  void clear_pending();
  [[nodiscard]] bool has_pending() const noexcept;
  [[nodiscard]] bool is_pending(std::string_view queue) const;
  /// The pending queues, in the order of their declaration.
  [[nodiscard]] std::vector<QueueRecord> pending() const;

  /// The current name of a queue, from any name that it ever had.
  [[nodiscard]] std::string current_name(std::string_view queue) const;
  /// The record of a queue, from any name that it ever had.
  [[nodiscard]] std::optional<QueueRecord> find_queue(std::string_view queue) const;
  [[nodiscard]] Snapshot snapshot() const;

 private:
  [[nodiscard]] std::string resolve(std::string_view queue) const;
  void forget_queue(const std::string& name);
  void forget_exchange(const std::string& name);
  void forget_bindings(const std::function<bool(const BindingRecord&)>& of_it);
  void forget_auto_deleted(const std::string& source);
  void renew(const std::string& queue);
  std::size_t forget_expired_locked(Clock::time_point now);

  struct Lease {
    std::chrono::milliseconds expires{};
    Clock::time_point used_at{};
  };

  mutable std::mutex mutex_;
  Snapshot known_;
  std::map<std::string, std::string, std::less<>> aliases_;  // from an old name to a newer one
  std::set<std::pair<std::string, std::string>> parks_;      // a parking lot, and a queue that parks in it
  std::map<std::string, std::size_t, std::less<>> consumers_;
  std::map<std::string, Lease, std::less<>> leases_;  // of queues with x-expires
  std::size_t sweep_at_ = 64;  // the number of leases at which expired ones are removed
  std::set<std::string, std::less<>> pending_;
};

}  // namespace warren::inline v0::engine
