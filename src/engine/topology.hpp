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
  std::string name{};  ///< as it is now
  bool server_named = false;
  wire::QueueFlags flags{};
  FieldTable arguments{};
};

struct BindingRecord {
  bool to_queue = true;  ///< else to an exchange
  std::string destination{};
  std::string source{};
  std::string routing_key{};
  FieldTable arguments{};
  friend bool operator==(const BindingRecord&, const BindingRecord&) = default;
};

/// What was declared through a connection and not deleted, to be declared again once it is lost. Any thread.
class Topology {
 public:
  using Clock = std::chrono::steady_clock;
  struct Snapshot {
    std::vector<ExchangeRecord> exchanges{};  ///< in the order of their declaration, as the others
    std::vector<QueueRecord> queues{};
    std::vector<BindingRecord> bindings{};
  };

  void declared(ExchangeRecord exchange);
  void declared(QueueRecord queue);
  void bound(BindingRecord binding);
  void unbound(const BindingRecord& binding);
  /// The broker counts it as use, for `x-expires`: basic.get, a passive declaration.
  void used(std::string_view queue);
  void exchange_gone(std::string_view name);
  void queue_gone(std::string_view name);
  /// An auto-delete queue goes with its last consumer.
  void consumer_added(std::string_view queue);
  void consumer_removed(std::string_view queue);
  /// A server-named queue got another name; its old ones stand for it from now on.
  void renamed(const std::string& old_name, const std::string& name);

  /// A retry policy was declared: what fails for good in `queue` rests in `lot`.
  void parks(std::string queue, std::string lot);
  /// The queues whose messages come to rest in `lot`, as far as this connection knows: by a retry policy, or
  /// dead-lettered through the default exchange, as they were declared.
  [[nodiscard]] std::vector<std::string> parked_in(std::string_view lot) const;

  /// Forgets the queues whose `x-expires` has passed since this connection used them last (declared, got
  /// from, consumed from): they are gone, or others' business. Returns how many.
  std::size_t forget_expired(Clock::time_point now);

  /// A recorded queue that another connection still holds (405): it is declared again in the background.
  void set_pending(const std::string& queue);
  void clear_pending(const std::string& queue);
  void clear_pending();
  [[nodiscard]] bool has_pending() const noexcept;
  [[nodiscard]] bool is_pending(std::string_view queue) const;
  /// In the order of their declaration.
  [[nodiscard]] std::vector<QueueRecord> pending() const;

  /// The name that a queue has now, of one it once had.
  [[nodiscard]] std::string current_name(std::string_view queue) const;
  /// What was declared of a queue, by its name of now or before.
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
  std::map<std::string, std::string, std::less<>> aliases_;  // an old name to a newer one
  std::set<std::pair<std::string, std::string>> parks_;      // a lot, and a queue that parks in it
  std::map<std::string, std::size_t, std::less<>> consumers_;
  std::map<std::string, Lease, std::less<>> leases_;  // of queues with x-expires
  std::size_t sweep_at_ = 64;                         // leases, at which those that are over are looked for
  std::set<std::string, std::less<>> pending_;
};

}  // namespace warren::inline v0::engine
