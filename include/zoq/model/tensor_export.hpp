// One tensor of a tuned model on its way into a file: rows in the file's order, in the file's format,
// and how far the format's rounding takes them from what they should be.
//
//     zoq::tensor_export t(m, number, "blk.0.attn_q.weight", zoq::info_of<zoq::f16_format>(), order);
//     t.run([&](auto bytes) { put(bytes); }, [](index_t rows) {});
//     t.error.relative();      // of the weights
//     t.lost.relative();       // of what the values changed
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/model/tuned_model.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/quant/requantize.hpp"

namespace zoq {

/// Is told now and then how many weights of all are done; what it throws ends the work.
using export_progress = std::function<void(index_t done, index_t all)>;

class tensor_export {
 public:
  /// Takes the next bytes of the tensor in the file.
  using sink = std::function<void(std::span<const std::byte>)>;

  /// Of tensor `number`, called `in_file` there. Keeps a reference: the model must outlive it.
  tensor_export(const tuned_model& of, index_t number, std::string in_file,
                const format_info& wanted, tuned_model::row_order order);

  std::string name;       // in the file
  std::string_view from,  // name of the format in the model
      to;                 // and in the file
  bool touched;           // the values change it
  index_t weights,        // rows times columns
      bytes_before,       // in the model
      bytes_after;        // in the file

  // Results of `run`.
  encoding_error error = {};  // of the weights in the file against the tuned ones
  encoding_error lost = {};   // the same against the change: where the values change a weight

  [[nodiscard]] index_t number() const { return number_; }  // in the model
  /// The model's tensor, without the values.
  [[nodiscard]] const any_packed& weight() const;

  /// Gives the rows to put(bytes), about a megabyte at a time; done(rows) follows each piece. A tensor that
  /// no value changes and that has the format is copied to the byte. Throws, naming tensor and place, on a
  /// weight that is not finite or too large for the format, and what the two throw.
  void run(const sink& put, const std::function<void(index_t)>& done);

 private:
  // Row `o` of the model's tensor.
  void encode(index_t o, std::byte* out, index_t stride);

  const tuned_model* of_;
  index_t number_;
  format_info wanted_;
  tuned_model::row_order order_;
  std::vector<float> base_, wanted_values_, is_;  // [C]
};

/// Sums over all tensors of an export.
struct export_summary {
  index_t tensors = 0,        // of the file
      touched = 0,            // tensors that the values change
      weights = 0,            // rows times columns
      bytes_before = 0,       // in the model
      bytes_after = 0;        // in the file
  encoding_error error = {},  // of the weights: see tensor_export
      lost = {};              // of what the values changed

  /// Counts one that has run.
  void add(const tensor_export& t);
};

/// What an adapter holds.
struct adapter_summary {
  std::string_view kind;  // "lora", "shira"
  index_t modules = 0,    // matrices of the model that it changes
      rank = 0,           // LoRA's R or SHiRA's r, of all modules
      values = 0;         // tuned ones
  index_t filled = 0;     // values of 0 beside them, that the adapter's layout asks for
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY const any_packed& weight_of(const tuned_model& of, index_t number) {
  return of.model().tensor(number).weight;
}

}  // namespace detail

ZOQ_BODY tensor_export::tensor_export(const tuned_model& of, index_t number, std::string in_file,
                                      const format_info& wanted, tuned_model::row_order order)
    : name(std::move(in_file)),
      from(detail::weight_of(of, number).format().name),
      to(wanted.name),
      touched(of.touches(number)),
      weights(detail::weight_of(of, number).rows() * detail::weight_of(of, number).columns()),
      bytes_before(detail::weight_of(of, number).byte_count()),
      bytes_after(wanted.bytes(detail::weight_of(of, number).rows(),
                               detail::weight_of(of, number).columns())),
      of_(&of),
      number_(number),
      wanted_(wanted),
      order_(order) {}

ZOQ_BODY const any_packed& tensor_export::weight() const {
  return detail::weight_of(*of_, number_);
}

ZOQ_BODY void tensor_export::run(const sink& put, const std::function<void(index_t)>& done) {
  const index_t rows = weight().rows(), columns = weight().columns();
  const index_t stride = wanted_.bytes(1, columns);
  const index_t some = std::clamp<index_t>((index_t{1} << 20) / stride, 1, rows);
  std::vector<std::byte> bytes(static_cast<std::size_t>(some * stride));
  for (index_t o = 0; o < rows; o += some) {
    const index_t n = std::min(some, rows - o);
    for (index_t r = 0; r < n; ++r) {
      encode(of_->row_from(number_, o + r, order_), bytes.data() + r * stride, stride);
    }
    put(std::span(bytes).first(static_cast<std::size_t>(n * stride)));
    done(n);
  }
}

ZOQ_BODY void tensor_export::encode(index_t o, std::byte* out, index_t stride) {
  if (!touched && from == to) {
    std::copy_n(weight().bytes() + o * stride, stride, out);
    return;
  }
  const index_t columns = weight().columns();
  base_.resize(static_cast<std::size_t>(columns));
  wanted_values_.resize(base_.size());
  is_.resize(base_.size());
  of_->decode_base(number_, o, base_.data());
  of_->decode(number_, o, wanted_values_.data());
  encode_row(wanted_, wanted_values_.data(), columns, out);
  packed_as(wanted_.name, out, nullptr, 1, columns, name).visit([&](const auto& w) {
    decode_row(w, 0, is_.data());
  });
  for (std::size_t c = 0; c < base_.size(); ++c) {
    const float should = wanted_values_[c];
    if (!std::isfinite(should) || !std::isfinite(is_[c])) {
      fail(of_->path(), ": tensor ", name, ": the weight at row ", o, ", column ", c, " is ",
           should, std::isfinite(should) ? text(", too large for ", to) : "");
    }
    const double square = static_cast<double>(should) * static_cast<double>(should);
    const double change = static_cast<double>(should) - static_cast<double>(base_[c]);
    const double miss = static_cast<double>(is_[c]) - static_cast<double>(should);
    error.squares += square;
    error.difference_squares += miss * miss;
    if (change != 0) {
      lost.squares += change * change;
      lost.difference_squares += miss * miss;
    }
  }
}

ZOQ_BODY void export_summary::add(const tensor_export& t) {
  ++tensors;
  touched += t.touched ? 1 : 0;
  weights += t.weights;
  bytes_before += t.bytes_before;
  bytes_after += t.bytes_after;
  error += t.error;
  lost += t.lost;
}

}  // namespace zoq

#endif
