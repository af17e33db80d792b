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

/// What a Consumer is made of: what all its runs share, and the latest of them.
struct Consumer::Impl {
  using Clock = std::chrono::steady_clock;
  using RunPtr = std::shared_ptr<consumer::Run>;

  Impl(std::shared_ptr<engine::ConnectionCore> core, std::string name, ConsumerOptions wanted);

  /// `begun` is called with the run once that can be ended, before the first message.
  /// @returns the run
  RunPtr start(Handler handler, const std::function<void(const RunPtr&)>& begun = {});
  /// False if the latest run still runs at the deadline. Rethrows what ended it, once.
  bool wait(Clock::time_point deadline);
  void request_stop() noexcept;
  void stop();
  /// For the destructor: as stop(), and no on_end begins any more. In a handler it only asks for the end.
  void shut_down() noexcept;
  [[nodiscard]] ConsumerStatus status() const;

  [[nodiscard]] const engine::OwnProcess& process() const noexcept { return common->process(); }

  const std::shared_ptr<consumer::Common> common;

 private:
  [[nodiscard]] RunPtr latest() const;
  [[nodiscard]] std::shared_ptr<consumer::EndCall> take_end_call();

  mutable std::mutex mutex;
  RunPtr current;  // of the latest start()
  // Of a run before, whose on_end may still be called: it may have started the next run.
  std::shared_ptr<consumer::EndCall> earlier_end_call;
};

}  // namespace warren::inline v0
