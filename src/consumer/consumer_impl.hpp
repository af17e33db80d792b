#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <warren/consumer.hpp>

#include "consumer/common.hpp"
#include "consumer/end_call.hpp"
#include "consumer/run.hpp"

namespace warren::inline v0 {

/// The implementation of a Consumer: the data that all its runs share, and the latest run.
struct Consumer::Impl {
  using Clock = std::chrono::steady_clock;
  using RunPtr = std::shared_ptr<consumer::Run>;

  Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted);

  /// Starts a run.
  /// @param begun  called with the run before its first message, as soon as the run can be stopped
  /// @returns the run
  RunPtr start(Handler handler, const std::function<void(const RunPtr&)>& begun = {});
  /// Waits for the end of the latest run, and rethrows the error that ended it, once.
  /// @returns false if the run has not ended at the deadline
  bool wait(Clock::time_point deadline);
  void request_stop() noexcept;
  void stop();
  /// Stops the consumer for its destructor. No call of on_end begins afterwards. In a handler of this
  /// consumer it only requests the stop.
  void shut_down() noexcept;
  [[nodiscard]] ConsumerStatus status() const;

  [[nodiscard]] const engine::OwnProcess& process() const noexcept { return common->process(); }

  const std::shared_ptr<consumer::Common> common;

 private:
  [[nodiscard]] RunPtr latest() const;
  [[nodiscard]] std::shared_ptr<consumer::EndCall> take_end_call();

  mutable std::mutex mutex;
  RunPtr current;  // the run of the latest start()
  // The call of on_end of an earlier run. It may still be running, because on_end may start the next run.
  std::shared_ptr<consumer::EndCall> earlier_end_call;
};

}  // namespace warren::inline v0
