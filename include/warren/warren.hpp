#pragma once

/// @file
/// Includes all of warren. A program may also include single headers.

#include <warren/version.hpp>  // first: reports a compiler that is not set to C++20

#include <warren/channel.hpp>
#include <warren/connection.hpp>
#include <warren/connection_options.hpp>
#include <warren/connection_state.hpp>
#include <warren/consumer.hpp>
#include <warren/consumer_options.hpp>
#include <warren/delivery.hpp>
#include <warren/error.hpp>
#include <warren/exchange.hpp>
#include <warren/exchange_options.hpp>
#include <warren/failure_rules.hpp>
#include <warren/field_table.hpp>
#include <warren/handler.hpp>
#include <warren/log.hpp>
#include <warren/message.hpp>
#include <warren/outcome.hpp>
#include <warren/parking_lot.hpp>
#include <warren/parking_lot_options.hpp>
#include <warren/printable.hpp>
#include <warren/publisher.hpp>
#include <warren/publisher_options.hpp>
#include <warren/queue.hpp>
#include <warren/queue_options.hpp>
#include <warren/reply_code.hpp>
#include <warren/retry_info.hpp>
#include <warren/retry_options.hpp>
#include <warren/retry_policy.hpp>
#include <warren/stop_on_signal.hpp>
#include <warren/uri.hpp>
