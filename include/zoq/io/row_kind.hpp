// The kinds of rows of data, and the key that each is seen from.
//
//     zoq::key_of(zoq::row_kind::preference);    // "chosen"
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace zoq {

/// In the order of `any_row`, which holds such rows.
enum class row_kind { choice, completion, text, preference };

/// All of them, in the same order.
inline constexpr row_kind row_kinds[] = {row_kind::choice, row_kind::completion, row_kind::text,
                                         row_kind::preference};

/// The key that rows of this kind have and those of other kinds have not.
constexpr const char* key_of(row_kind kind) {
  constexpr const char* keys[] = {"choices", "completion", "text", "chosen"};
  return keys[static_cast<std::size_t>(kind)];
}

}  // namespace zoq
