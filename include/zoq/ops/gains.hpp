// gains: a norm's gain or a bias, decoded, as every branch has it.
//
//     zoq::gains(exec, weight, branches.on(tensor), branches.count, out);    // out: [branches, C]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/changed_weight.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// gain: [1, C], out: [branches, C]. Parts that are not there change no bit. Throws when shapes
/// disagree, and on parts of matrix products.
template <executor X>
void gains(const X& exec, const any_packed& gain, const parts& added, index_t branches,
           tensor_view<float, 2> out) {
  require(gain.rows() == 1 && out.shape[0] == branches && out.shape[1] == gain.columns(),
          "gains: out is ", out.shape[0], " x ", out.shape[1], " for ", branches, " branches of ",
          gain.rows(), " x ", gain.columns());
  require(!added.sparse && !added.low_rank, "gains: sparse or low-rank parts are for matrices");
  gain.visit([&]<class S>(const packed_view<S>& packed) {
    const changed_rows<S> task{{packed, weight_change(added)}, 0, branches, 0, 1, out.data};
    exec.for_each(task.items(), task);
  });
}

}  // namespace zoq
