#include "consumer/run.hpp"

#include <utility>

#include "consumer/keeper.hpp"
#include "consumer/worker.hpp"
#include "engine/system.hpp"

namespace warren::inline v0::consumer {
namespace {

using engine::Subscription;
using engine::SubscriptionOptions;

std::shared_ptr<Subscription> own_subscription(const Common& common) {
  const ConsumerOptions& options = common.options;
  SubscriptionOptions subscription{.queue = common.queue,
                                   .consumer_tag = options.consumer_tag,
                                   .prefetch = options.prefetch,
                                   .exclusive = options.exclusive,
                                   .arguments = options.arguments,
                                   .queue_wait = options.queue_wait,
                                   .unsettled_on_stream = options.ack_mode == AckMode::manual
                                                              ? engine::StreamPosition::Unsettled::comes_again
                                                              : engine::StreamPosition::Unsettled::kept};
  if (options.priority) subscription.arguments.set("x-priority", *options.priority);
  if (!options.stream_filter.empty()) {
    subscription.arguments.set("x-stream-filter",
                               FieldArray(options.stream_filter.begin(), options.stream_filter.end()));
    subscription.arguments.set("x-stream-match-unfiltered", options.stream_match_unfiltered);
  }
  return std::make_shared<Subscription>(common.connection, std::move(subscription));
}

std::shared_ptr<Subscription> suspects_subscription(const Common& common) {
  if (!common.guard) return nullptr;
  return std::make_shared<Subscription>(
      common.connection,
      SubscriptionOptions{
          .queue = common.guard->suspect_queue(), .prefetch = 1, .queue_wait = common.options.queue_wait});
}

}  // namespace

Run::Run(std::shared_ptr<Common> common, Handler handler)
    : common_(std::move(common)),
      handler_(std::make_shared<Handler>(std::move(handler))),
      slots_(common_->options.concurrency),
      subscription_(own_subscription(*common_)),
      suspects_(suspects_subscription(*common_)) {
  if (!common_->options.on_end) return;
  end_call_ = std::make_shared<EndCall>(common_->options.on_end);
  call_end_ = EndCall::make(end_call_);
}

void Run::begin(const std::function<void()>& begun) {
  const auto handler = std::exchange(handler_, nullptr);
  try {
    if (begun) begun();
    if (subscription_->is_ending()) return not_begun();
    open();
  } catch (...) {
    not_begun();
    throw;
  }
  try {
    if (start_threads(handler)) return;
    subscription_->end(nullptr);  // a stop had reached its deadline
    end(*subscription_);
    if (suspects_) end(*suspects_);
  } catch (...) {  // no thread or no memory: the run ends here, and wait() throws the error
    subscription_->end(std::current_exception());
    supervise();
  }
}

void Run::open() {
  subscription_->open();
  if (!suspects_ || subscription_->is_ending()) return;
  common_->guard->subscribing();
  try {
    suspects_->open();
  } catch (...) {
    subscription_->end(nullptr);
    end(*subscription_);
    throw;
  }
}

// Ends a subscription from which no worker takes deliveries.
void Run::end(Subscription& subscription) noexcept {
  subscription.cancel(common_->connection->operation_deadline());
  subscription.close(common_->connection->operation_deadline());
}

void Run::not_begun() noexcept {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::running) phase_ = Phase::over;
  changed_.notify_all();
}

// Starts all threads that the run ever needs, because later the system may have no thread left. Returns false
// if a stop reached its deadline meanwhile.
bool Run::start_threads(const std::shared_ptr<Handler>& handler) {
  if (common_->options.on_end) common_->connection->events().start();
  common_->watch.start();
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::running) return false;
  // Reserve memory first: otherwise a failed allocation could lose a started thread.
  workers_.reserve(common_->options.concurrency + 1);
  for (std::size_t i = 0; i < common_->options.concurrency; ++i) {
    add_worker("warren-worker", *subscription_, Role::own, handler);
  }
  if (suspects_) {
    add_worker("warren-suspects", *suspects_, Role::suspects, handler);
    suspects_keeper_ = engine::start_thread("warren-guard", [self = shared_from_this()] {
      Keeper(*self->common_, *self->suspects_, Role::suspects).keep();
      self->subscription_->end(self->suspects_->reason());
    });
  }
  supervisor_ = engine::start_thread("warren-consumer", [self = shared_from_this()] { self->supervise(); });
  return true;
}

// The caller holds the lock.
void Run::add_worker(const char* name, Subscription& from, Role role,
                     const std::shared_ptr<Handler>& handler) {
  workers_.push_back(engine::start_user_thread(
      name, [self = shared_from_this(), &from, role, handler] { self->work(from, role, *handler); }));
  ++live_workers_;
}

void Run::work(Subscription& from, Role role, Handler& handler) noexcept {
  Worker(*common_, from, role, handler, slots_, [this] { hold(); }).work();
  const std::lock_guard lock(mutex_);
  if (live_workers_ == 0) return;  // a drain left the workers behind
  --live_workers_;
  changed_.notify_all();
}

// The circuit breaker pauses both subscriptions.
void Run::hold() noexcept {
  subscription_->hold();
  if (suspects_) suspects_->hold();
}

void Run::supervise() noexcept {
  Keeper(*common_, *subscription_, Role::own).keep();
  if (suspects_) suspects_->end(nullptr);
  if (suspects_keeper_.joinable()) suspects_keeper_.join();
  common_->republisher.wake();
  drain();
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::running) over(Phase::over);
}

}  // namespace warren::inline v0::consumer
