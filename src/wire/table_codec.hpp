#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <warren/field_table.hpp>

#include "wire/amqp.hpp"
#include "wire/byte_reader.hpp"
#include "wire/encoded_table.hpp"

namespace warren::inline v0::wire {

/// Converts a table for rabbitmq-c's encoder. The result refers to `table` and `pool`, which must outlive it.
/// @param stamp  added last under stamp_key, and replaces an entry of that name
/// @throws InvalidArgument  key above 255 bytes, nesting above 32, string above 2^32 - 1 bytes
[[nodiscard]] amqp_table_t to_amqp(const FieldTable& table, Pool& pool,
                                   std::optional<std::int64_t> stamp = std::nullopt);

/// Checks the nesting.
/// @param depth  the depth of a table or an array; the outermost table has depth 1
/// @throws MalformedFrame  it is above max_nesting
void check_depth(int depth);

/// Decodes a value that begins with its field's type. Allocates only for strings, arrays and tables.
/// @param depth  the depth of the table or array that contains the value
/// @throws MalformedFrame
[[nodiscard]] FieldValue decode_value(ByteReader& reader, int depth);

/// Replaces `out` by the decoded table. `bytes` excludes the table's four bytes of length.
/// @throws MalformedFrame  `out` then holds the entries before the fault
void decode_table(std::string_view bytes, FieldTable& out);

}  // namespace warren::inline v0::wire
