#include "engine/topology.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "wire/encoded_table.hpp"

namespace warren::inline v0::engine {
namespace {

template <typename Record>
void replace(std::vector<Record>& records, Record record) {
  const auto same = std::ranges::find(records, record.name, &Record::name);
  if (same != records.end()) {
    *same = std::move(record);
  } else {
    records.push_back(std::move(record));
  }
}

constexpr std::size_t smallest_sweep = 64;

std::optional<std::chrono::milliseconds> expiry(const QueueRecord& queue) {
  const FieldValue* value = queue.arguments.find("x-expires");
  if (value == nullptr) return std::nullopt;
  const auto number = value->as_integer();
  if (!number || *number < 0) return std::nullopt;
  // A century stands for longer times, which the clock may not be able to represent.
  constexpr std::chrono::milliseconds longest = std::chrono::years(100);
  return std::min(std::chrono::milliseconds(*number), longest);
}

}  // namespace

void Topology::declared(ExchangeRecord exchange) {
  const std::lock_guard lock(mutex_);
  replace(known_.exchanges, std::move(exchange));
}

void Topology::declared(QueueRecord queue) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  aliases_.erase(queue.name);
  pending_.erase(queue.name);
  leases_.erase(queue.name);
  if (const auto expires = expiry(queue)) {
    // Otherwise a program that declares one queue for each request would fill the record.
    if (leases_.size() >= sweep_at_) {
      forget_expired_locked(now);
      sweep_at_ = std::max(smallest_sweep, 2 * leases_.size());
    }
    leases_[queue.name] = {*expires, now};
  }
  replace(known_.queues, std::move(queue));
}

void Topology::bound(BindingRecord binding) {
  const std::lock_guard lock(mutex_);
  if (binding.to_queue) binding.destination = resolve(binding.destination);
  if (std::ranges::find(known_.bindings, binding) == known_.bindings.end()) {
    known_.bindings.push_back(std::move(binding));
  }
}

void Topology::unbound(const BindingRecord& binding) {
  const std::lock_guard lock(mutex_);
  BindingRecord record = binding;
  if (record.to_queue) record.destination = resolve(record.destination);
  std::erase(known_.bindings, record);
  forget_auto_deleted(record.source);
}

void Topology::exchange_gone(std::string_view name) {
  const std::lock_guard lock(mutex_);
  forget_exchange(std::string(name));
}

void Topology::forget_exchange(const std::string& name) {
  std::erase_if(known_.exchanges, [&](const ExchangeRecord& each) { return each.name == name; });
  std::erase_if(known_.bindings, [&](const BindingRecord& each) { return each.source == name; });
  forget_bindings([&](const BindingRecord& each) { return !each.to_queue && each.destination == name; });
}

// Removes bindings because their queue or exchange was deleted. An auto-delete exchange may be deleted with
// its last binding.
void Topology::forget_bindings(const std::function<bool(const BindingRecord&)>& of_it) {
  std::vector<std::string> sources;
  for (const BindingRecord& binding : known_.bindings) {
    if (of_it(binding)) sources.push_back(binding.source);
  }
  std::erase_if(known_.bindings, of_it);
  for (const std::string& source : sources) forget_auto_deleted(source);
}

void Topology::queue_gone(std::string_view name) {
  const std::lock_guard lock(mutex_);
  forget_queue(resolve(name));
}

void Topology::forget_queue(const std::string& name) {
  std::erase_if(known_.queues, [&](const QueueRecord& each) { return each.name == name; });
  forget_bindings([&](const BindingRecord& each) { return each.to_queue && each.destination == name; });
  consumers_.erase(name);
  leases_.erase(name);
  pending_.erase(name);
  std::erase_if(parks_, [&](const auto& each) { return each.second == name; });
}

// An auto-delete exchange is deleted with the last binding from it. Its own bindings are then gone too, so
// their source exchanges are checked next.
void Topology::forget_auto_deleted(const std::string& source) {
  const auto exchange = std::ranges::find(known_.exchanges, source, &ExchangeRecord::name);
  if (exchange == known_.exchanges.end() || !exchange->flags.auto_delete) return;
  if (std::ranges::find(known_.bindings, source, &BindingRecord::source) != known_.bindings.end()) return;
  forget_exchange(source);
}

void Topology::consumer_added(std::string_view queue) {
  const std::lock_guard lock(mutex_);
  const std::string name = resolve(queue);
  ++consumers_[name];
  renew(name);
}

void Topology::consumer_removed(std::string_view queue) {
  const std::lock_guard lock(mutex_);
  const std::string name = resolve(queue);
  const auto count = consumers_.find(name);
  if (count == consumers_.end() || --count->second != 0) return;
  consumers_.erase(count);
  renew(name);
  const auto record = std::ranges::find(known_.queues, name, &QueueRecord::name);
  if (record != known_.queues.end() && record->flags.auto_delete) forget_queue(name);
}

void Topology::renamed(const std::string& old_name, const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (old_name == name) return;
  for (QueueRecord& queue : known_.queues) {
    if (queue.name == old_name) queue.name = name;
  }
  for (BindingRecord& binding : known_.bindings) {
    if (binding.to_queue && binding.destination == old_name) binding.destination = name;
  }
  if (auto consumers = consumers_.extract(old_name)) {
    consumers.key() = name;
    consumers_.insert(std::move(consumers));
  }
  if (auto lease = leases_.extract(old_name)) {
    lease.key() = name;
    leases_.insert(std::move(lease));
  }
  for (auto& [older, newer] : aliases_) {
    if (newer == old_name) newer = name;
  }
  aliases_[old_name] = name;
}

void Topology::used(std::string_view queue) {
  const std::lock_guard lock(mutex_);
  if (!leases_.empty()) renew(resolve(queue));
}

void Topology::renew(const std::string& queue) {
  const auto lease = leases_.find(queue);
  if (lease != leases_.end()) lease->second.used_at = Clock::now();
}

std::size_t Topology::forget_expired(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  return forget_expired_locked(now);
}

std::size_t Topology::forget_expired_locked(Clock::time_point now) {
  std::set<std::string, std::less<>> over;
  for (const auto& [name, lease] : leases_) {
    if (now - lease.used_at > lease.expires && !consumers_.contains(name)) over.insert(name);
  }
  if (over.empty()) return 0;
  // Removes all in one pass, since there may be thousands.
  std::erase_if(known_.queues, [&](const QueueRecord& each) { return over.contains(each.name); });
  for (const std::string& name : over) {
    leases_.erase(name);
    pending_.erase(name);
  }
  std::erase_if(parks_, [&](const auto& each) { return over.contains(each.second); });
  forget_bindings(
      [&](const BindingRecord& each) { return each.to_queue && over.contains(each.destination); });
  return over.size();
}

void Topology::set_pending(const std::string& queue) {
  const std::lock_guard lock(mutex_);
  pending_.insert(queue);
}

void Topology::clear_pending(const std::string& queue) {
  const std::lock_guard lock(mutex_);
  pending_.erase(queue);
}

void Topology::clear_pending() {
  const std::lock_guard lock(mutex_);
  pending_.clear();
}

bool Topology::has_pending() const noexcept {
  const std::lock_guard lock(mutex_);
  return !pending_.empty();
}

bool Topology::is_pending(std::string_view queue) const {
  const std::lock_guard lock(mutex_);
  return !pending_.empty() && pending_.contains(resolve(queue));
}

std::vector<QueueRecord> Topology::pending() const {
  const std::lock_guard lock(mutex_);
  std::vector<QueueRecord> queues;
  for (const QueueRecord& each : known_.queues) {
    if (pending_.contains(each.name)) queues.push_back(each);
  }
  return queues;
}

std::string Topology::resolve(std::string_view queue) const {
  const auto alias = aliases_.find(queue);
  return alias == aliases_.end() ? std::string(queue) : alias->second;
}

std::string Topology::current_name(std::string_view queue) const {
  const std::lock_guard lock(mutex_);
  return resolve(queue);
}

std::optional<QueueRecord> Topology::find_queue(std::string_view queue) const {
  const std::lock_guard lock(mutex_);
  const auto record = std::ranges::find(known_.queues, resolve(queue), &QueueRecord::name);
  if (record == known_.queues.end()) return std::nullopt;
  return *record;
}

void Topology::parks(std::string queue, std::string lot) {
  const std::lock_guard lock(mutex_);
  parks_.emplace(std::move(lot), std::move(queue));
}

std::vector<std::string> Topology::parked_in(std::string_view lot) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> queues;
  for (const auto& [parked, queue] : parks_) {
    if (parked == lot) queues.push_back(queue);
  }
  for (const QueueRecord& each : known_.queues) {
    if (wire::string_of(each.arguments, "x-dead-letter-exchange") == "" &&
        wire::string_of(each.arguments, "x-dead-letter-routing-key") == lot)
      queues.push_back(each.name);
  }
  return queues;
}

Topology::Snapshot Topology::snapshot() const {
  const std::lock_guard lock(mutex_);
  return known_;
}

}  // namespace warren::inline v0::engine
