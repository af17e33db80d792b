#include <warren/field_table.hpp>

#include <algorithm>

#include "wire/encoded_table.hpp"
#include "wire/table_codec.hpp"

namespace warren::inline v0 {

FieldTable::FieldTable() noexcept = default;
FieldTable::FieldTable(std::initializer_list<FieldEntry> entries) {
  for (const FieldEntry& entry : entries) set(entry.key, entry.value);
}
FieldTable::FieldTable(const FieldTable& other)
    : entries_(other.is_encoded() ? std::vector<FieldEntry>() : other.entries_),
      encoded_(other.is_encoded() ? std::make_unique<Encoded>(other.encoded_->bytes, Encoded::State::encoded)
                                  : nullptr) {}
FieldTable::FieldTable(FieldTable&&) noexcept = default;
FieldTable& FieldTable::operator=(const FieldTable& other) {
  if (this != &other) *this = FieldTable(other);
  return *this;
}
FieldTable& FieldTable::operator=(FieldTable&& other) noexcept {
  if (this == &other) return *this;
  entries_ = std::move(other.entries_);
  encoded_ = std::move(other.encoded_);
  return *this;
}
FieldTable::~FieldTable() = default;

bool FieldTable::is_encoded() const noexcept {
  return encoded_ != nullptr && encoded_->state.load(std::memory_order_relaxed) != Encoded::State::unused;
}

bool FieldTable::is_decoded() const noexcept {
  if (encoded_ == nullptr) return true;
  const Encoded::State now = encoded_->state.load(std::memory_order_acquire);
  return now == Encoded::State::decoded || now == Encoded::State::unused;
}

const std::vector<FieldEntry>& FieldTable::entries() const {
  if (is_decoded()) return entries_;
  using State = Encoded::State;
  std::atomic<State>& state = encoded_->state;
  for (State now = state.load(std::memory_order_acquire); now != State::decoded;) {
    if (now == State::decoding) {  // another thread is decoding
      state.wait(now, std::memory_order_acquire);
      now = state.load(std::memory_order_acquire);
    } else if (state.compare_exchange_weak(now, State::decoding, std::memory_order_acquire)) {
      try {
        FieldTable table;
        table.entries_.swap(entries_);  // entries_ is empty; its memory is used again
        wire::decode_table(encoded_->bytes, table);
        entries_.swap(table.entries_);
      } catch (...) {
        state.store(State::encoded, std::memory_order_release);
        state.notify_all();
        throw;
      }
      now = State::decoded;
      state.store(now, std::memory_order_release);
      state.notify_all();
    }
  }
  return entries_;
}

std::vector<FieldEntry>& FieldTable::own_entries() {
  if (encoded_ != nullptr) {
    (void)entries();
    encoded_.reset();
  }
  return entries_;
}

void FieldTable::set(std::string_view key, FieldValue value) {
  std::vector<FieldEntry>& entries = own_entries();
  const auto entry =
      std::find_if(entries.begin(), entries.end(), [&](const FieldEntry& e) { return e.key == key; });
  if (entry != entries.end()) {
    entry->value = std::move(value);
  } else {
    append(std::string(key), std::move(value));
  }
}

void FieldTable::append(std::string key, FieldValue value) {
  own_entries().push_back({std::move(key), std::move(value)});
}

const FieldValue* FieldTable::find(std::string_view key) const {
  if (!is_decoded() && !wire::has_field(encoded_->bytes, key)) return nullptr;
  const std::vector<FieldEntry>& entries = this->entries();
  const auto entry =
      std::find_if(entries.begin(), entries.end(), [&](const FieldEntry& e) { return e.key == key; });
  return entry == entries.end() ? nullptr : &entry->value;
}

std::optional<std::int64_t> FieldTable::integer(std::string_view key) const noexcept {
  return wire::integer_of(*this, key);
}

std::optional<std::string_view> FieldTable::string(std::string_view key) const noexcept {
  return wire::string_of(*this, key);
}

std::optional<bool> FieldTable::boolean(std::string_view key) const noexcept {
  return wire::scalar_of(*this, key, [](const FieldValue& value) {
    const bool* boolean = value.get_if<bool>();
    return boolean == nullptr ? std::nullopt : std::optional(*boolean);
  });
}

std::optional<double> FieldTable::number(std::string_view key) const noexcept {
  return wire::scalar_of(*this, key, [](const FieldValue& value) { return value.as_number(); });
}

std::optional<Timestamp> FieldTable::timestamp(std::string_view key) const noexcept {
  return wire::scalar_of(*this, key, [](const FieldValue& value) {
    const Timestamp* timestamp = value.get_if<Timestamp>();
    return timestamp == nullptr ? std::nullopt : std::optional(*timestamp);
  });
}

bool FieldTable::contains(std::string_view key) const noexcept {
  if (is_encoded()) return wire::has_field(encoded_->bytes, key);
  return std::any_of(entries_.begin(), entries_.end(), [&](const FieldEntry& e) { return e.key == key; });
}

bool FieldTable::erase(std::string_view key) {
  if (!contains(key)) return false;
  return std::erase_if(own_entries(), [&](const FieldEntry& e) { return e.key == key; }) != 0;
}

void FieldTable::clear() noexcept {
  entries_.clear();
  if (encoded_ != nullptr) encoded_->state.store(Encoded::State::unused, std::memory_order_relaxed);
}

bool FieldTable::empty() const noexcept { return !is_encoded() && entries_.empty(); }

std::size_t FieldTable::size() const noexcept {
  return is_decoded() ? entries_.size() : wire::count_fields(encoded_->bytes);
}

const FieldEntry* FieldTable::begin() const { return entries().data(); }

const FieldEntry* FieldTable::end() const {
  const std::vector<FieldEntry>& entries = this->entries();
  return entries.data() + entries.size();
}

bool operator==(const FieldTable& a, const FieldTable& b) { return a.entries() == b.entries(); }

}  // namespace warren::inline v0
