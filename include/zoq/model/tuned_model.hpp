// A model with tuned values put into its weights, row by row: what exports write.
//
//     zoq::tuned_model m("model.gguf", "delta.safetensors");
//     m.touches(number);                    // the values change this tensor
//     m.decode(number, row, out);           // its row as floats, values included: out [C]
//
// With the formula of ops/parts.hpp, in double where terms add up, rounded once:
//
//     W = (1 + factor) * decode(base) + offset + scale * B A + S
//
// So the result does not depend on the view's kind. Views that change no weight (prompt, prefix,
// residual-prompt) have no such form and are refused by name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/model_file.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/view/layouts.hpp"
#include "zoq/view/values_file.hpp"

namespace zoq {

/// The low-rank product beside a matrix: scale * B A.
struct low_rank_product {
  index_t rank = 0;          // R
  float scale = 1;           // of the product
  const float* a = nullptr;  // [R, C]
  const float* b = nullptr;  // [O, R]
};

/// The values on single entries of a matrix, by row, then column.
struct sparse_values {
  std::span<const std::int32_t> row,  // [n] ascending
      column;                         // [n]
  std::span<const float> value;       // [n]
};

class tuned_model {
 public:
  /// The model at `path` with the values of the file `values`, a delta or values of any view; as it is
  /// when that is empty. Throws as open_model_file, llama::from and read_values do, on a weight that is NaN or
  /// infinite, on values of another model, and on a view that changes no weight. Decodes all weights once.
  explicit tuned_model(const std::string& path, const std::string& values = {});

  /// The same of values in memory; `source` begins messages.
  tuned_model(const model_file& file, const tuned_values& values, const std::string& source);

  [[nodiscard]] const model_file& file() const { return file_; }          // the model's
  [[nodiscard]] const llama& model() const { return model_; }             // without the values
  [[nodiscard]] const std::string& path() const { return file_.path(); }  // the model's
  [[nodiscard]] const std::string& values_path() const { return values_path_; }  // empty: none
  /// The view's name: "sparse"; empty without values.
  [[nodiscard]] std::string_view view() const { return view_name_; }

  /// How the rows of a Llama's query and key lie: as in GGUF files, where the two coordinates of a
  /// rotary pair are neighbours, or as in Hugging Face folders, where they are half a head apart.
  enum class row_order { neighbours, halves };

  /// The row of tensor `number` that is row `o` in this order.
  [[nodiscard]] index_t row_from(index_t number, index_t o, row_order order) const;
  /// Where row `o` of tensor `number` goes in this order.
  [[nodiscard]] index_t row_to(index_t number, index_t o, row_order order) const;
  /// Whether rows of tensor `number` stand elsewhere in this order.
  [[nodiscard]] bool turned(index_t number, row_order order) const;

  /// Whether the values change tensor `number`.
  [[nodiscard]] bool touches(index_t number) const;

  /// The product that the values put beside tensor `number`, or nothing. Valid while this object
  /// lives; rows as in the model.
  [[nodiscard]] std::optional<low_rank_product> low_rank(index_t number) const;
  /// The entries that the values put beside it, in the same way.
  [[nodiscard]] std::optional<sparse_values> sparse(index_t number) const;
  /// Whether all that the values do is to add products: what a LoRA adapter can hold.
  [[nodiscard]] bool only_low_rank() const;
  /// Whether all that they do is to add to single entries: what a sparse adapter can hold.
  [[nodiscard]] bool only_sparse() const;

  /// Row `o` of tensor `number` without values, to out [C].
  void decode_base(index_t number, index_t o, float* out) const;

  /// The same with values. Cost: one decoding, and R C products of a low-rank view.
  void decode(index_t number, index_t o, float* out) const;

 private:
  // Between the two orders of a head's rows: coordinates 2 j and 2 j + 1 of one are j and j + D / 2 of the
  // other.
  [[nodiscard]] index_t other_row(index_t o, bool to_halves) const;
  [[nodiscard]] parts on(index_t number) const;

  // Whether there are any tensors that the values change, and in no way but this.
  [[nodiscard]] bool all_touched(bool (*is)(const parts&)) const;
  void put(const tuned_values& values, const std::string& source);

  model_file file_;
  llama model_;
  std::unique_ptr<const serial> host_ = std::make_unique<serial>();  // the view keeps its address
  std::optional<laid_out_view<serial, any_layout<serial>>> view_;
  std::string_view view_name_;
  std::string values_path_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>

#include "zoq/core/choice.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/open_model_file.hpp"
#include "zoq/model/finite.hpp"
#include "zoq/model/llama_family.hpp"
#include "zoq/model/target.hpp"
#include "zoq/ops/changed_weight.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void add_product(const low_rank_product& p, index_t o, index_t columns, float* out) {
  for (index_t c = 0; c < columns; ++c) {
    double sum = 0;
    for (index_t r = 0; r < p.rank; ++r) {
      sum += static_cast<double>(p.b[o * p.rank + r]) * static_cast<double>(p.a[r * columns + c]);
    }
    out[c] = static_cast<float>(static_cast<double>(out[c]) + static_cast<double>(p.scale) * sum);
  }
}

}  // namespace detail

ZOQ_BODY tuned_model::tuned_model(const std::string& path, const std::string& values)
    : file_(open_model_file(path)), model_(llama::from(file_)) {
  require_finite(*host_, model_.tensors(), path);
  if (!values.empty()) {
    const tuned_values read = read_values(values);
    require_model({{}, read.model_hash, {}}, model_.hash(), values);
    put(read, values);
    values_path_ = values;
  }
}

ZOQ_BODY tuned_model::tuned_model(const model_file& file, const tuned_values& values,
                                  const std::string& source)
    : file_(file), model_(llama::from(file)) {
  require_finite(*host_, model_.tensors(), file.path());
  put(values, source);
}

ZOQ_BODY index_t tuned_model::row_from(index_t number, index_t o, row_order order) const {
  return turned(number, order) ? other_row(o, order == row_order::neighbours) : o;
}

ZOQ_BODY index_t tuned_model::row_to(index_t number, index_t o, row_order order) const {
  return turned(number, order) ? other_row(o, order == row_order::halves) : o;
}

ZOQ_BODY bool tuned_model::turned(index_t number, row_order order) const {
  const std::string& name = model_.tensor(number).name;
  const bool halves = file_.has("zoq.rotary_halves") && file_.get_bool("zoq.rotary_halves");
  return model_.config().family == llama_family::name && halves != (order == row_order::halves) &&
         (name.ends_with(".attn_q.weight") || name.ends_with(".attn_k.weight"));
}

ZOQ_BODY bool tuned_model::touches(index_t number) const {
  const parts p = on(number);
  return p.low_rank || p.changes_weight() || (p.sparse && p.sparse->row.shape[0] > 0);
}

ZOQ_BODY std::optional<low_rank_product> tuned_model::low_rank(index_t number) const {
  const parts p = on(number);
  if (!p.low_rank) {
    return std::nullopt;
  }
  return low_rank_product{p.low_rank->rank, p.low_rank->scale, p.low_rank->a.at(0),
                          p.low_rank->b.at(0)};
}

ZOQ_BODY std::optional<sparse_values> tuned_model::sparse(index_t number) const {
  const parts p = on(number);
  if (!p.sparse) {
    return std::nullopt;
  }
  const auto n = static_cast<std::size_t>(p.sparse->row.shape[0]);
  return sparse_values{{p.sparse->row.data, n},
                       {p.sparse->column.data, n},
                       {p.sparse->values.data + p.sparse->first, n}};
}

ZOQ_BODY bool tuned_model::only_low_rank() const {
  return all_touched([](const parts& p) { return p.low_rank.has_value() && !p.sparse; });
}

ZOQ_BODY bool tuned_model::only_sparse() const {
  return all_touched([](const parts& p) { return p.sparse.has_value() && !p.low_rank; });
}

ZOQ_BODY void tuned_model::decode_base(index_t number, index_t o, float* out) const {
  model_.tensor(number).weight.visit([&](const auto& w) { decode_row(w, o, out); });
}

ZOQ_BODY void tuned_model::decode(index_t number, index_t o, float* out) const {
  const parts p = on(number);
  model_.tensor(number).weight.visit([&]<class S>(const packed_view<S>& w) {
    const changed_weight<S> changed{w, weight_change(p)};
    for (index_t run = 0; run < changed.runs(); ++run) {
      changed.decode(o, run, 0, out);
    }
  });
  if (p.low_rank) {
    detail::add_product(*low_rank(number), o, model_.tensor(number).weight.columns(), out);
  }
  if (p.sparse) {
    const sparse_values s = *sparse(number);
    const auto [first, last] = std::equal_range(s.row.begin(), s.row.end(), o);
    for (auto i = static_cast<std::size_t>(first - s.row.begin());
         i < static_cast<std::size_t>(last - s.row.begin()); ++i) {
      out[s.column[i]] += s.value[i];
    }
  }
}

ZOQ_BODY index_t tuned_model::other_row(index_t o, bool to_halves) const {
  const index_t size = model_.config().head_size, in_head = o % size, half = size / 2;
  return o - in_head +
         (to_halves ? in_head / 2 + in_head % 2 * half : in_head % half * 2 + in_head / half);
}

ZOQ_BODY parts tuned_model::on(index_t number) const {
  return view_ ? view_->branches().on(number) : parts{};
}

ZOQ_BODY bool tuned_model::all_touched(bool (*is)(const parts&)) const {
  bool any = false;
  for (index_t n = 0; n < static_cast<index_t>(model_.tensors().size()); ++n) {
    if (touches(n)) {
      any = true;
      if (const parts p = on(n); p.changes_weight() || !is(p)) {
        return false;
      }
    }
  }
  return any;
}

ZOQ_BODY void tuned_model::put(const tuned_values& values, const std::string& source) {
  view_name_ = name_of(values.how);
  try {
    view_.emplace(view_of(*host_, target_of(model_), values));
  } catch (const error& e) {
    fail(source, ": ", e.what());
  }
  view_->move_to_values(*host_);
  const branch_parts all = view_->branches();
  require(!all.prompt && all.prefix.empty(), source, ": values of the view ", view_name_,
          " change no weight: they can be used by zoq alone, and not be exported");
}

}  // namespace zoq

#endif
