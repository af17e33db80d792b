#pragma once

/// @file
/// The whole of warren. Each header below may also be included alone.

#include <warren/error.hpp>
#include <warren/field_table.hpp>
#include <warren/message.hpp>
#include <warren/uri.hpp>
#include <warren/version.hpp>
