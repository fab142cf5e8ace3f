// embedding: x[b * T + t, :] = table[token[t], :], decoded from any format, for every branch.
//
//     zoq::embed(exec, tokens, table, branches, x);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// One block of one row.
template <quant_scheme S>
struct embed_block {
  packed_view<S> table;     // [V, C]
  const token_t* token;     // [T]
  index_t rows;             // T
  tensor_view<float, 2> x;  // [branches * T, C]
  ZOQ_HD void operator()(index_t i) const {
    const index_t blocks = table.blocks_per_row();
    const index_t word = token[i / blocks % rows];
    S::decode(table.row(word), table.block(word, i % blocks), x.data + i * S::block_size);
  }
};

/// token: [T] with values in [0, V), table: [V, C], x: [branches * T, C]. The caller has checked
/// the tokens. Throws when shapes disagree.
template <executor X>
void embed(const X& exec, tensor_view<const token_t, 1> token, const any_packed& table,
           index_t branches, tensor_view<float, 2> x) {
  require(x.shape[0] == branches * token.shape[0] && x.shape[1] == table.columns(), "embed: x is ",
          x.shape[0], " x ", x.shape[1], " for ", token.shape[0], " tokens of ", branches,
          " branches and rows of ", table.columns());
  table.visit([&]<class S>(const packed_view<S>& packed) {
    exec.for_each(x.shape[0] * packed.blocks_per_row(),
                  embed_block<S>{packed, token.data, token.shape[0], x});
  });
}

}  // namespace zoq
