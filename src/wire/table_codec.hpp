#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <warren/field_table.hpp>

#include "wire/amqp.hpp"
#include "wire/byte_reader.hpp"
#include "wire/encoded_table.hpp"

namespace warren::inline v0::wire {

/// The table for rabbitmq-c's encoder. Refers to `table` and `pool`: both must outlive its use.
/// @param stamp  added last under stamp_key, in place of an entry of that name
/// @throws InvalidArgument  key above 255 bytes, nesting above 32, string above 2^32 - 1 bytes
[[nodiscard]] amqp_table_t to_amqp(const FieldTable& table, Pool& pool,
                                   std::optional<std::int64_t> stamp = std::nullopt);

/// @param depth  of a table or an array, the outermost table being 1
/// @throws MalformedFrame  it is above max_nesting
void check_depth(int depth);

/// The value that begins with its field's type. Allocates for strings, arrays and tables alone.
/// @param depth  of what it is in
/// @throws MalformedFrame
[[nodiscard]] FieldValue decode_value(ByteReader& reader, int depth);

/// Replaces `out` by an encoded table, given without its four bytes of length.
/// @throws MalformedFrame  `out` then holds the entries before the fault
void decode_table(std::string_view bytes, FieldTable& out);

}  // namespace warren::inline v0::wire
