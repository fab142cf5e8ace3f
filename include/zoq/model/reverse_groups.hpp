// What a reverse pass goes over: samples, each with a loss of its own, in groups of packed rows.
//
//     zoq::text_samples windows{texts};                     // each: its mean next-token loss
//     auto groups = zoq::groups_of(windows, 1024);          // packings of about 1024 rows
//
// A sample packs its own segments and reads, and turns the log-likelihoods of the reads into its loss
// and the derivatives of the loss towards them. So one reverse pass serves any loss that depends on
// the weights through likelihoods: next token, options of a task, and others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

template <class S>
concept reverse_samples = requires(const S& s, index_t i, packing& batch,
                                   std::span<const double> scores, std::span<double> weights) {
  { s.count() } -> std::same_as<index_t>;
  // Appends the segments and reads of sample i; its segments see only each other.
  { s.pack(i, batch) } -> std::same_as<void>;
  // scores: log p of the reads of sample i; weights <- d loss / d score. Returns the loss.
  { s.loss(i, scores, weights) } -> std::same_as<double>;
};

/// Plain text: the loss of a window is its mean next-token loss.
struct text_samples {
  std::vector<std::vector<token_t>> windows;  // token ids, of any lengths of at least 2

  /// How many windows.
  [[nodiscard]] index_t count() const { return static_cast<index_t>(windows.size()); }

  /// Throws on a window of less than 2 tokens.
  void pack(index_t i, packing& batch) const;
  [[nodiscard]] double loss(index_t, std::span<const double> scores,
                            std::span<double> weights) const;
};
static_assert(reverse_samples<text_samples>);

/// Samples of any type, for passes that are compiled once for all of them. What it refers to must live as long
/// as it is used.
class samples_ref {
 public:
  /// Refers to `samples`.
  template <class S>
  requires(!std::same_as<S, samples_ref> && reverse_samples<S>)
      samples_ref(const S& samples)  // NOLINT(google-explicit-constructor): any samples are meant
      : of_(&samples),
        count_(samples.count()),
        pack_([](const void* of, index_t i, packing& batch) {
          static_cast<const S*>(of)->pack(i, batch);
        }),
        loss_([](const void* of, index_t i, std::span<const double> scores,
                 std::span<double> weights) {
          return static_cast<const S*>(of)->loss(i, scores, weights);
        }) {}

  [[nodiscard]] index_t count() const { return count_; }  // of samples, when this was made
  void pack(index_t i, packing& batch) const { pack_(of_, i, batch); }
  [[nodiscard]] double loss(index_t i, std::span<const double> scores,
                            std::span<double> weights) const {
    return loss_(of_, i, scores, weights);
  }

 private:
  const void* of_;
  index_t count_;
  void (*pack_)(const void*, index_t, packing&);
  double (*loss_)(const void*, index_t, std::span<const double>, std::span<double>);
};

/// The mean over samples of the square of each one's gradient, or of the gradient itself.
enum class gradient_form { mean_square, mean };

/// Takes the gradients of a matrix: tensor, rows, columns, [rows * columns].
using gradient_visitor =
    function_ref<void(std::string_view, index_t, index_t, std::span<const float>)>;

/// What a reverse pass is asked for.
struct gradient_options {
  gradient_form form = gradient_form::mean_square;  // of every weight
  branch_parts at{};  // gradients are taken here: nothing, or the sparse parts of one branch
};

/// Samples whose rows go through a layer together.
struct sample_group {
  packing batch;                          // of all of them
  index_t first = 0;                      // its first sample
  index_t first_row = 0;                  // and its first row, among those of all groups
  std::vector<packing::sizes> begin{{}};  // of each sample, and the end of the last
  /// How many samples.
  [[nodiscard]] index_t samples() const { return static_cast<index_t>(begin.size()) - 1; }
  /// The first row of a sample in `batch`; samples are counted from 0 here.
  [[nodiscard]] index_t row(index_t sample) const {
    return static_cast<index_t>(begin[static_cast<std::size_t>(sample)].tokens);
  }
  /// The first segment of every sample, and the number of all: [samples + 1].
  [[nodiscard]] std::vector<std::int32_t> first_segments() const;
};

/// Samples in their order, cut so that no group but one of a single sample has more than `rows`.
/// Throws on no samples, and on one from which nothing is read.
std::vector<sample_group> groups_of(samples_ref samples, index_t rows);

/// The reads of a packing by the rows that they are read from: what the head's reverse loops over.
struct reads_by_row {
  std::vector<std::int32_t> first;  // [read rows + 1] its first read in `order`
  std::vector<std::size_t> order;   // [reads] numbers in the packing
  std::vector<token_t> target;      // [reads] in that order
};

/// `place(row)` gives a row's place among the read rows, of which there are `rows`.
reads_by_row order_by_row(const packing& batch, index_t rows, function_ref<index_t(index_t)> place);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void text_samples::pack(index_t i, packing& batch) const {
  const auto& tokens = windows[static_cast<std::size_t>(i)];
  const auto n = static_cast<index_t>(tokens.size());
  require(n >= 2, "reverse: windows of ", n, " tokens, wanted at least 2");
  const index_t s = batch.add(tokens);
  for (index_t t = 0; t + 1 < n; ++t) {
    batch.read(s, t, tokens[static_cast<std::size_t>(t + 1)]);
  }
}

ZOQ_BODY double text_samples::loss(index_t, std::span<const double> scores,
                                   std::span<double> weights) const {
  const auto n = static_cast<double>(scores.size());
  double sum = 0;
  for (std::size_t r = 0; r < scores.size(); ++r) {
    sum += scores[r];
    weights[r] = -1 / n;
  }
  return -sum / n;
}

ZOQ_BODY std::vector<std::int32_t> sample_group::first_segments() const {
  std::vector<std::int32_t> out;
  for (const packing::sizes& s : begin) {
    out.push_back(static_cast<std::int32_t>(s.segments));
  }
  return out;
}

ZOQ_BODY std::vector<sample_group> groups_of(samples_ref samples, index_t rows) {
  require(samples.count() > 0, "reverse: nothing to score");
  std::vector<sample_group> out;
  index_t total = 0;
  for (index_t i = 0; i < samples.count(); ++i) {
    packing one;
    samples.pack(i, one);
    require(!one.reads.empty(), "reverse: nothing is read from sample ", i);
    if (out.empty() || out.back().batch.rows() + one.rows() > rows) {
      out.emplace_back();
      out.back().first = i;
      out.back().first_row = total;
    }
    samples.pack(i, out.back().batch);
    out.back().begin.push_back(out.back().batch.size());
    total += one.rows();
  }
  return out;
}

ZOQ_BODY reads_by_row order_by_row(const packing& batch, index_t rows,
                                   function_ref<index_t(index_t)> place) {
  reads_by_row out;
  out.first.assign(static_cast<std::size_t>(rows) + 1, 0);
  for (const token_read& r : batch.reads) {
    ++out.first[static_cast<std::size_t>(place(r.row)) + 1];
  }
  for (std::size_t i = 1; i < out.first.size(); ++i) {
    out.first[i] += out.first[i - 1];
  }
  std::vector<std::int32_t> next(out.first.begin(), out.first.end() - 1);
  out.order.resize(batch.reads.size());
  out.target.resize(batch.reads.size());
  for (std::size_t r = 0; r < batch.reads.size(); ++r) {
    const auto at =
        static_cast<std::size_t>(next[static_cast<std::size_t>(place(batch.reads[r].row))]++);
    out.order[at] = r;
    out.target[at] = batch.reads[r].target;
  }
  return out;
}

}  // namespace zoq

#endif
