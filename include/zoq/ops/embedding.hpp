// embedding: x[b * T + t, :] = table[token[t], :], decoded from any format, for every branch.
//
//     zoq::embed(exec, tokens, table, branches, x);
//     zoq::embed(exec, tokens, table, branches.on(tensor), branches.stack(), x);    // of a view
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/changed_weight.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/branch_stack.hpp"
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

/// One run of one row, of a table that a view changes.
template <quant_scheme S>
struct embed_changed_run {
  changed_weight<S> table;  // [V, C]
  const token_t* token;     // [T]
  index_t rows;             // T
  tensor_view<float, 2> x;  // [branches * T, C]
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / table.runs();
    table.decode(token[row % rows], i % table.runs(), row / rows, x.data + row * x.shape[1]);
  }
};

/// The same with a view's offsets or factors of the table, of every branch. Without them, no bit
/// changes. Throws on parts of matrix products.
template <executor X>
void embed(const X& exec, tensor_view<const token_t, 1> token, const any_packed& table,
           const parts& added, const branch_stack& stack, tensor_view<float, 2> x) {
  require(!added.sparse && !added.low_rank, "embed: sparse or low-rank parts are for matrices");
  if (!added.changes_weight()) {
    embed(exec, token, table, stack.count, x);
    return;
  }
  require(x.shape[0] == stack.count * token.shape[0] && x.shape[1] == table.columns(),
          "embed: x is ", x.shape[0], " x ", x.shape[1], " for ", token.shape[0], " tokens of ",
          stack.count, " branches and rows of ", table.columns());
  table.visit([&]<class S>(const packed_view<S>& packed) {
    const changed_weight<S> changed{packed, weight_change(added)};
    exec.for_each(x.shape[0] * changed.runs(),
                  embed_changed_run<S>{changed, token.data, token.shape[0], x});
  });
}

}  // namespace zoq
