// Rewrites a model's file with its matrices in other formats.
//
//     auto changes = zoq::quantize_file("f16.gguf", "q4_1.gguf",
//                                       {.linear = "q4_1", .embedding = "q8_0"});
//     for (const zoq::tensor_change& t : changes) { t.name; t.to; t.error.relative(); }
//
// Tensors are taken one at a time and some rows at a time, so that the model may be larger than
// memory; the new file appears whole or not at all. Each weight is decoded and encoded anew by its
// format's plain encoder; a matrix that has the wanted format already is copied. Norms and biases become
// f32; learned positions stay as they are.
// All metadata is carried over, but for these keys (meanings: the GGUF specification):
//
//     general.file_type              the id of the linear matrices' format; left out if it has none
//     general.quantization_version   2, when a tensor is quantised and the key was missing
//     general.alignment              left out: the new file has the default of 32
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/quant/requantize.hpp"

namespace zoq {

/// Formats by name ("q4_1"); empty: as it is.
struct quantize_options {
  std::string linear = {};     // of the matrices of linear layers
  std::string embedding = {};  // of the embedding, and so of a head that is tied to it
  std::string head = {};       // of a head of its own
};

/// What became of one tensor.
struct tensor_change {
  std::string name;
  tensor_role role = tensor_role::linear;
  std::string_view from, to;  // names of formats
  index_t weights = 0;
  index_t bytes_before = 0, bytes_after = 0;
  encoding_error error;  // of the new values against the old
};

/// The format of this name, if GGUF files can hold it. Throws, naming the choices, when there is
/// none.
inline format_info file_format_named(std::string_view name) {
  const std::optional<format_info> found = find_format(name);
  if (!found || found->gguf_type == no_gguf_type) {
    std::string known;
    formats::for_each([&]<class S>(S) {
      if (S::gguf_type != no_gguf_type) {
        known += (known.empty() ? "" : ", ") + std::string(S::name);
      }
    });
    fail("unknown format \"", name, "\": ", known);
  }
  return *found;
}

namespace detail {

inline format_info format_after(const stored_tensor& t, tensor_role role,
                                const quantize_options& options) {
  if (role == tensor_role::norm || role == tensor_role::bias) {
    return info_of<f32_format>();
  }
  if (role == tensor_role::position) {
    return *find_format(t.type);
  }
  const std::string& wanted = role == tensor_role::linear      ? options.linear
                              : role == tensor_role::embedding ? options.embedding
                                                               : options.head;
  return wanted.empty() ? *find_format(t.type) : file_format_named(wanted);
}

/// The metadata of `file` for one whose linear matrices are of the format `linear` (none: as they
/// were), and which holds quantised tensors or not.
inline void carry_metadata(const model_file& file, const std::optional<format_info>& linear,
                           bool has_quantised, gguf_writer& out) {
  constexpr std::string_view file_type = "general.file_type";
  constexpr std::string_view version = "general.quantization_version";
  for (const gguf_value& value : file.metadata()) {
    if (value.key != "general.alignment" && (value.key != file_type || !linear)) {
      out.set(value);
    }
  }
  if (linear && linear->gguf_file_type) {
    out.set(file_type, *linear->gguf_file_type);
  }
  if (has_quantised && !file.has(version)) {
    out.set(version, std::uint32_t{2});
  }
}

}  // namespace detail

/// Writes the model in `from` to `to` with its tensors in the wanted formats, in the same order.
/// tell(done, all) is called now and then with numbers of weights; what it throws ends the work.
/// Throws `error`, naming file and tensor, on a file that is no model that zoq knows, a format that is not
/// known or whose block does not divide a tensor's columns, a head's format for a tied head, a
/// weight that is not finite or too large for the format, and when `from` and `to` are one file;
/// `to` is then as it was. Memory: about a megabyte, and pages of one mapped tensor.
/// Cost: one decoding and one encoding a weight.
inline std::vector<tensor_change> quantize_file(
    const std::string& from, const std::string& to, const quantize_options& options,
    const std::function<void(index_t done, index_t all)>& tell = {}) {
  const llama model = llama::open(from);  // its checks, and the roles
  std::error_code missing;
  require(!std::filesystem::equivalent(from, to, missing), from, ": cannot be written over itself");
  require(options.head.empty() || !model.tied(), from,
          ": the head is tied to the embedding and has no format of its own");
  const model_file file = open_gguf(from);

  std::vector<tensor_change> changes;
  std::vector<format_info> formats_after;
  index_t all = 0;
  bool has_quantised = false;
  for (const stored_tensor& t : file.tensors()) {
    const tensor_role role = model.tensor(find_tensor(model.tensors(), t.name)).role;
    const format_info after = detail::format_after(t, role, options);
    require(t.columns() % after.block_size == 0, from, ": tensor ", t.name, " has ", t.columns(),
            " columns, no multiple of ", after.name, "'s block of ", after.block_size);
    const index_t weights = t.rows() * t.columns();
    changes.push_back({t.name,
                       role,
                       find_format(t.type)->name,
                       after.name,
                       weights,
                       t.byte_count,
                       after.bytes(t.rows(), t.columns()),
                       {}});
    formats_after.push_back(after);
    all += weights;
    has_quantised = has_quantised || after.block_size > 1;
  }

  gguf_writer out;
  const auto linear = options.linear.empty()
                          ? std::nullopt
                          : std::optional<format_info>(file_format_named(options.linear));
  detail::carry_metadata(file, linear, has_quantised, out);
  index_t done = 0;
  for (std::size_t n = 0; n < changes.size(); ++n) {
    const stored_tensor& t = file.tensors()[n];
    const format_info after = formats_after[n];
    tensor_change& change = changes[n];
    out.add_tensor(t.name, t.shape, after.gguf_type, [&, after](const gguf_writer::sink& put) {
      const any_packed w = file.matrix(t.name);
      const std::string name = text(from, ": tensor ", t.name);
      const index_t stride = after.bytes(1, w.columns());
      const index_t some = std::clamp<index_t>((index_t{1} << 20) / stride, 1, w.rows());
      std::vector<std::byte> bytes(static_cast<std::size_t>(some * stride));
      for (index_t o = 0; o < w.rows(); o += some) {
        const index_t rows = std::min(some, w.rows() - o);
        const auto size = static_cast<std::size_t>(rows * stride);
        if (change.from == change.to) {
          put({w.bytes() + o * stride, size});
        } else {
          requantize(w, after, o, rows, name, std::span(bytes).first(size), change.error);
          put(std::span(bytes).first(size));
        }
        done += rows * w.columns();
        if (tell) {
          tell(done, all);
        }
      }
      file.drop_pages();
    });
  }
  out.write(to);
  return changes;
}

}  // namespace zoq
