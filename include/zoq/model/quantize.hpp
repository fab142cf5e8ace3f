// Writes a model again with its matrices in other formats.
//
//     auto changes = zoq::quantize_file("SmolLM2-135M", "lut4.safetensors",
//                                       {.linear = "lut4", .keep = "mask.safetensors"});
//     for (const zoq::tensor_change& t : changes) { t.name; t.to; t.error.relative(); }
//
// The model is any that open_model_file opens. The new file is GGUF, or io/model_container.hpp's when its
// name ends in .safetensors or a format is not one of GGUF's. Tensors are taken one at a time and some
// rows at a time, so that the model may be larger than memory; the new file appears whole or not at all.
// Each weight is decoded and encoded anew by its format's plain encoder; a matrix that has the wanted
// format already is copied. Norms and biases become f32; learned positions stay as they are. Rows of query
// and key go into GGUF's order. All metadata is carried over, but for these keys (meanings: the GGUF specification):
//
//     general.file_type              the id of the linear matrices' format; left out if it has none
//     general.quantization_version   2, when a tensor is quantised and the key was missing
//     general.alignment              left out: the new file has the default of 32
//     zoq.rotary_halves              left out: rows are in GGUF's order now
//
// Values to be kept, the places of a mask that was made for the old model, take no part in the fit. What
// is missing at them, old value - decoded new value, is written beside as a delta of the new model
// (view/delta.hpp): with it the weights there are the old ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/quant/requantize.hpp"

namespace zoq {

class gguf_writer;
class model_file;

/// Which tensors get which format, and what the encoding takes into account.
struct quantize_options {
  // Formats by name ("q4_1"); empty: as it is.
  std::string linear = {};     // of the matrices of linear layers
  std::string embedding = {};  // of the embedding, and so of a head that is tied to it
  std::string head = {};       // of a head of its own
  // Files; empty: none.
  std::string keep = {};  // a mask of the model
  std::string importance =
      {};  // safetensors: for matrix NAME, F32 [O, C]: weights of squared errors
};

/// What became of one tensor.
struct tensor_change {
  std::string name;                        // in the model
  tensor_role role = tensor_role::linear;  // what it is for
  std::string_view from,                   // name of the format before
      to;                                  // and after
  index_t weights = 0;                     // rows times columns
  index_t bytes_before = 0,                // as stored
      bytes_after = 0;                     // without what is kept
  encoding_error error = {};               // of the new values against the old
  index_t kept = 0;                        // places kept
  encoding_error error_with_kept = {};     // with the offsets added; without kept places as `error`
};

/// Where the kept values of the model at `path` are written.
std::string kept_path(const std::string& path);

/// The format of this name. Throws, naming the choices, when there is none.
format_info format_named(std::string_view name);

namespace detail {

/// The metadata of `file` for one whose linear matrices are of the format `linear` (none: as they
/// were), and which holds quantised tensors or not.
void carry_metadata(const model_file& file, const std::optional<format_info>& linear,
                    bool has_quantised, gguf_writer& out);

}  // namespace detail

/// Writes the model at `from` to `to`, and what is kept to kept_path(to); tensors in the model's order.
/// tell(done, all) is called now and then with numbers of weights; what it throws ends the work.
/// Throws `error`, naming file and tensor, on a file that is no model, a format that is not known, not
/// for the new file, or whose block does not divide a tensor's columns, a head's format for a tied
/// head, a mask of another model, importance of another shape, a weight that is not finite or too large
/// for the format, and when `from` and `to` are one; `to` is then as it was. The kept values are
/// written after the model: when that fails, the model is there. Memory: about a megabyte, pages of one
/// mapped tensor, the kept places and values, and what the rows of one tensor own.
/// Cost: one decoding and one encoding a weight, and with `keep` two readings of the models.
std::vector<tensor_change> quantize_file(
    const std::string& from, const std::string& to, const quantize_options& options,
    const std::function<void(index_t done, index_t all)>& tell = {});

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/model_container.hpp"
#include "zoq/io/model_file.hpp"
#include "zoq/io/open_model_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/model/finite.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/model/requantizer.hpp"
#include "zoq/view/delta.hpp"

namespace zoq {

ZOQ_BODY std::string kept_path(const std::string& path) { return path + ".kept.safetensors"; }

ZOQ_BODY format_info format_named(std::string_view name) {
  const std::optional<format_info> found = find_format(name);
  if (!found) {
    std::string known;
    formats::for_each(
        [&]<class S>(S) { known += (known.empty() ? "" : ", ") + std::string(S::name); });
    fail("unknown format \"", name, "\": ", known);
  }
  return *found;
}

namespace detail {

ZOQ_BODY format_info format_after(const model_tensor& t, const quantize_options& options) {
  const std::string* wanted = nullptr;
  switch (t.role) {
    case tensor_role::linear:
      wanted = &options.linear;
      break;
    case tensor_role::embedding:
      wanted = &options.embedding;
      break;
    case tensor_role::head:
      wanted = &options.head;
      break;
    case tensor_role::position:
      return t.weight.format();
    default:
      return info_of<f32_format>();
  }
  return wanted->empty() ? t.weight.format() : format_named(*wanted);
}

ZOQ_BODY void carry_metadata(const model_file& file, const std::optional<format_info>& linear,
                             bool has_quantised, gguf_writer& out) {
  constexpr std::string_view file_type = "general.file_type";
  constexpr std::string_view version = "general.quantization_version";
  for (const gguf_value& value : file.metadata()) {
    if (value.key != "general.alignment" && value.key != "zoq.rotary_halves" &&
        (value.key != file_type || !linear)) {
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

/// The places to keep, checked against the model.
ZOQ_BODY mask read_keep(const std::string& path, const llama& model) {
  mask out = read_mask(path);
  require_model(out, model.hash(), path);
  for (const tensor_mask& t : out.tensors) {
    const index_t n = find_tensor(model.tensors(), t.tensor);
    require(n >= 0 && model.tensor(n).role == tensor_role::linear, path, ": tensor ",
            printable(t.tensor), " is no matrix of a linear layer of the model");
    const any_packed& w = model.tensor(n).weight;
    require(w.rows() == t.rows && w.columns() == t.columns, path, ": tensor ", t.tensor, " is ",
            t.rows, " x ", t.columns, ", the model's is ", w.rows(), " x ", w.columns());
  }
  return out;
}

/// The importance of matrix `w`, where the file has it; checked against its shape.
ZOQ_BODY std::span<const float> importance_of(const safetensors_file& file, const model_tensor& w,
                                              std::vector<float>& copy) {
  const safetensor* t = file.find(w.name);
  if (t == nullptr) {
    return {};
  }
  require(t->shape == std::vector<index_t>{w.weight.rows(), w.weight.columns()}, file.path(),
          ": tensor ", w.name, " is not of the model's shape, ", w.weight.rows(), " x ",
          w.weight.columns());
  copy = file.values<float>(w.name);
  return copy;
}

/// The delta of what was kept, for the new model at `to`.
ZOQ_BODY void write_kept(const std::string& to, const std::vector<requantizer>& work,
                         const std::string& old_model) {
  delta kept;
  for (const requantizer& t : work) {
    if (!t.kept.index.empty()) {
      kept.places.tensors.push_back(t.kept);
      kept.values.insert(kept.values.end(), t.offsets.begin(), t.offsets.end());
    }
  }
  kept.places.model_hash = llama::from(open_model_file(to)).hash();
  write_delta(kept_path(to), kept, {{"kept_of", old_model}});
}

}  // namespace detail

ZOQ_BODY std::vector<tensor_change> quantize_file(
    const std::string& from, const std::string& to, const quantize_options& options,
    const std::function<void(index_t done, index_t all)>& tell) {
  const model_file file = open_model_file(from);
  const llama model = llama::from(file);  // its checks, and the roles
  for (const std::string& out : {to, options.keep.empty() ? to : kept_path(to)}) {
    require_no_input(out, {from, options.keep, options.importance});
  }
  require_finite(serial(), model.tensors(),
                 from);  // what is copied would be the same in the new file
  require(options.head.empty() || !model.tied(), from,
          ": the head is tied to the embedding and has no format of its own");
  const std::optional<mask> keep =
      options.keep.empty() ? std::nullopt
                           : std::optional<mask>(detail::read_keep(options.keep, model));
  std::optional<safetensors_file> importance;
  if (!options.importance.empty()) {
    importance = safetensors_file::open(options.importance);
  }
  const bool halves = file.has("zoq.rotary_halves") && file.get_bool("zoq.rotary_halves");

  std::vector<tensor_change> changes;
  std::vector<requantizer> work;
  index_t all = 0;
  bool has_quantised = false, in_container = to.ends_with(".safetensors");
  for (const model_tensor& t : model.tensors()) {
    const format_info after = detail::format_after(t, options);
    const index_t rows = t.weight.rows(), columns = t.weight.columns();
    require(columns % after.block_size == 0, from, ": tensor ", t.name, " has ", columns,
            " columns, no multiple of ", after.name, "'s block of ", after.block_size);
    if (after.gguf_type == no_gguf_type) {
      require(!to.ends_with(".gguf"), to, ": ", after.name,
              " is no format of GGUF files, wanted a name that ends in .safetensors");
      in_container = true;
    }
    const auto bytes_after = after.bytes_with_rows(rows, columns);
    changes.push_back({t.name, t.role, t.weight.format().name, after.name, rows * columns,
                       t.weight.byte_count(), bytes_after});
    work.emplace_back(t.weight, after, t.name, text(from, ": tensor ", t.name));
    const bool turned = t.name.ends_with(".attn_q.weight") || t.name.ends_with(".attn_k.weight");
    work.back().halves = halves && turned ? model.config().head_size : 0;
    for (std::size_t k = 0; keep && k < keep->tensors.size(); ++k) {
      if (keep->tensors[k].tensor == t.name) {
        work.back().keep = &keep->tensors[k];
      }
    }
    all += rows * columns;
    has_quantised = has_quantised || after.block_size > 1;
  }

  gguf_writer out;
  const auto linear = options.linear.empty()
                          ? std::nullopt
                          : std::optional<format_info>(format_named(options.linear));
  detail::carry_metadata(file, linear, has_quantised, out);
  index_t done = 0;
  const auto run = [&](std::size_t n, const safetensor_source::sink& put) {
    requantizer& t = work[n];
    if (n > 0) {
      work[n - 1].row_data = {};  // they are written
    }
    std::vector<float> copy;
    if (importance) {
      t.importance = detail::importance_of(*importance, model.tensors()[n], copy);
    }
    t.run(put, [&](index_t rows) {
      done += rows * t.from.columns();
      if (tell) {
        tell(done, all);
      }
    });
    t.importance = {};
    changes[n].error = t.error;
    changes[n].kept = static_cast<index_t>(t.kept.index.size());
    changes[n].error_with_kept = t.error_with_kept;
    file.drop_pages();
  };
  std::vector<container_tensor> sources;
  for (std::size_t n = 0; n < work.size(); ++n) {
    const requantizer& t = work[n];
    const index_t rows = t.from.rows(), columns = t.from.columns();
    const auto make = [&run, n](const safetensor_source::sink& put) { run(n, put); };
    if (in_container) {
      sources.push_back({t.name, t.after, rows, columns, make,
                         [&work, n] { return std::span<const std::byte>(work[n].row_data); }});
    } else {
      out.add_tensor(t.name, file.tensor(t.name).shape, t.after.gguf_type, make);
    }
  }
  if (in_container) {
    write_model_container(to, out.metadata_bytes(), sources);
  } else {
    out.write(to);
  }
  if (keep) {
    detail::write_kept(to, work, keep->model_hash);
  }
  return changes;
}

}  // namespace zoq

#endif
