#include <warren/publisher.hpp>

#include <utility>

#include <warren/connection.hpp>

#include "engine/deadline.hpp"
#include "engine/publish_window.hpp"
#include "engine/system.hpp"
#include "values/handle.hpp"
#include "wire/check.hpp"

namespace warren::inline v0 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* class_name = "Publisher";

void check(const PublisherOptions& options) {
  constexpr const char* operation = "publisher options";
  if (options.window == 0) wire::refuse(operation, "window is 0");
  if (options.window_bytes == 0) wire::refuse(operation, "window_bytes is 0");
  if (options.timeout <= std::chrono::milliseconds(0)) wire::refuse(operation, "timeout is not above 0");
  wire::check_short_string(options.exchange, operation, "exchange");
  wire::check_short_string(options.routing_key, operation, "routing_key");
}

// Holds a slot while a caller waits for its publish.
class Held {
 public:
  Held(engine::PublishWindow& window, engine::PublishSlot* slot) noexcept : window_(window), slot_(slot) {}
  ~Held() { window_.release(*slot_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  engine::PublishWindow& window_;
  engine::PublishSlot* slot_;
};

}  // namespace

Confirmation::Confirmation(std::shared_ptr<engine::PublishWindow> window, engine::PublishSlot* slot) noexcept
    : window_(std::move(window)), slot_(slot) {}
Confirmation::~Confirmation() { release(); }
Confirmation::Confirmation(Confirmation&& other) noexcept
    : window_(std::move(other.window_)), slot_(std::exchange(other.slot_, nullptr)) {}

Confirmation& Confirmation::operator=(Confirmation&& other) noexcept {
  if (this != &other) {
    release();
    window_ = std::move(other.window_);
    slot_ = std::exchange(other.slot_, nullptr);
  }
  return *this;
}

void Confirmation::release() noexcept {
  engine::PublishSlot* const slot = std::exchange(slot_, nullptr);
  if (slot != nullptr && is_to_close(window_)) window_->release(*slot);
}

engine::PublishWindow& Confirmation::window() const {
  constexpr const char* operation = "confirmation of a publish";
  if (!window_)
    wire::refuse_misuse(operation,
                        "the Confirmation was moved from, or made by default: it is of no publish");
  return use(window_, "Confirmation", operation);
}

PublishOutcome Confirmation::outcome() const { return window().outcome(*slot_); }
void Confirmation::wait() { (void)window().wait(*slot_, slot_->deadline); }
bool Confirmation::wait_for(std::chrono::milliseconds timeout) {
  return window().wait(*slot_, engine::deadline_after(timeout));
}
void Confirmation::on_settled(SettledCallback callback) {
  engine::PublishWindow& publishes = window();
  if (!callback) wire::refuse("on_settled", "the callback is empty");
  publishes.on_settled(*slot_, std::move(callback));
}

Publisher::Publisher(Connection& connection, PublisherOptions options)
    : Publisher(connection.core_, std::move(options)) {}

Publisher::Publisher(const std::shared_ptr<engine::ConnectionCore>& connection, PublisherOptions options) {
  check(options);
  (void)use(connection, "Connection", "channel.open");
  window_ = engine::make_at_home<engine::PublishWindow>(connection, std::move(options));
  window_->open();
}

Publisher::~Publisher() {
  if (is_to_close(window_)) window_->begin_close();
}
Publisher::Publisher(Publisher&&) noexcept = default;

Publisher& Publisher::operator=(Publisher&& other) noexcept {
  if (this != &other) {
    if (is_to_close(window_)) window_->begin_close();
    window_ = std::move(other.window_);
  }
  return *this;
}

void Publisher::publish(const Message& message, const PublishOptions& options) {
  engine::PublishWindow& window = use(window_, class_name, "basic.publish");
  engine::PublishSlot* slot = window.publish(message, options);
  const Held held(window, slot);
  (void)window.wait(*slot, slot->deadline);
}

Confirmation Publisher::publish_async(const Message& message, const PublishOptions& options) {
  engine::PublishWindow& window = use(window_, class_name, "basic.publish");
  return Confirmation(window_, window.publish(message, options));
}

void Publisher::flush() {
  engine::PublishWindow& window = use(window_, class_name, "flush");
  window.flush(engine::deadline_after(window.options().timeout));
}
void Publisher::flush(std::chrono::milliseconds timeout) {
  use(window_, class_name, "flush").flush(engine::deadline_after(timeout));
}
std::size_t Publisher::in_flight() const { return use(window_, class_name, "in_flight").in_flight(); }
void Publisher::close() noexcept {
  if (is_to_close(window_)) window_->close();
}

}  // namespace warren::inline v0
