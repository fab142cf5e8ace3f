// A model: its sizes, and its tensors where they lie (in the mapped file). Of any family in `any_family`.
//
//     zoq::decoder model = zoq::decoder::open("model.gguf");
//     model.config().layers;   model.tensors();   model.layer(0).output;   model.hash();
//
// Every tensor has a fixed number, so the forward pass finds it without a search. A head that is tied
// to the embedding is the embedding's own tensor.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/model/decoder_config.hpp"
#include "zoq/model/family.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

class model_file;

class decoder {
 public:
  using layer_numbers = zoq::layer_numbers;  // see layer()

  /// Maps a GGUF file; nothing is copied but gains and biases when used. Throws, naming file and
  /// tensor, on anything that does not fit. Other files: open_model (model/open.hpp).
  static decoder open(const std::string& path);

  /// The model in a file that is open. Throws as `open` does.
  static decoder from(model_file opened);

  /// A model of tensors that lie elsewhere, in the order of `tensors_of(config)` (without a head when
  /// tied). `owner` keeps their memory alive. Throws when a shape is wrong.
  decoder(const decoder_config& config, std::vector<model_tensor> tensors,
          std::shared_ptr<const void> owner);

  [[nodiscard]] const decoder_config& config() const { return config_; }  // sizes and kinds
  [[nodiscard]] std::span<const model_tensor> tensors() const { return tensors_; }
  /// The tensor of this number, in tensors(). Unchecked.
  [[nodiscard]] const model_tensor& tensor(index_t number) const {
    return tensors_[static_cast<std::size_t>(number)];
  }

  /// The numbers of the model's own tensors.
  [[nodiscard]] const model_numbers& numbers() const { return numbers_; }
  /// The numbers of the tensors of layer l.
  [[nodiscard]] const layer_numbers& layer(index_t l) const {
    return layers_[static_cast<std::size_t>(l)];
  }
  [[nodiscard]] index_t embedding() const { return numbers_.embedding; }      // its number
  [[nodiscard]] index_t output_norm() const { return numbers_.output_norm; }  // its number
  /// The head's number; where it is tied, the embedding's.
  [[nodiscard]] index_t head() const { return tied() ? numbers_.embedding : numbers_.head; }
  [[nodiscard]] bool tied() const { return numbers_.head < 0; }  // the head is the embedding

  /// Bytes of all tensors as they are stored.
  [[nodiscard]] index_t byte_count() const;

  /// Names this model by its contents; masks and deltas carry it. Reads every byte once.
  [[nodiscard]] std::string hash() const;

 private:
  decoder_config config_;
  std::vector<model_tensor> tensors_;
  std::shared_ptr<const void> owner_;
  model_numbers numbers_;
  std::vector<layer_numbers> layers_;
};

/// A gain or a bias as floats in the executor's memory: [C].
template <executor X>
buffer<float, typename X::space> gain_of(const X& exec, const any_packed& norm) {
  std::vector<float> values(static_cast<std::size_t>(norm.columns()));
  norm.visit([&](const auto& w) { decode_row(w, 0, values.data()); });
  auto out = exec.template allocate<float>(norm.columns());
  exec.upload(values.data(), norm.columns(), out.data());
  return out;
}

}  // namespace zoq

#if ZOQ_BODIES

#include <set>
#include <string_view>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/model_file.hpp"
#include "zoq/model/families.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void require_expected(const tensor_list& list, std::span<const model_tensor> tensors,
                               const std::string& source) {
  const std::span<const expected_tensor> wanted = list.all();
  const bool tied = tensors.size() + 1 == wanted.size();
  require(tied || tensors.size() == wanted.size(), source, ": ", tensors.size(),
          " tensors, wanted ", wanted.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const model_tensor& t = tensors[i];
    require(t.name == wanted[i].name && t.weight.rows() == wanted[i].rows &&
                t.weight.columns() == wanted[i].columns,
            source, ": tensor ", t.name, " is ", t.weight.rows(), " x ", t.weight.columns(),
            ", wanted ", wanted[i].name, " of ", wanted[i].rows, " x ", wanted[i].columns);
  }
}

}  // namespace detail

ZOQ_BODY decoder decoder::open(const std::string& path) { return from(open_gguf(path)); }

ZOQ_BODY decoder decoder::from(model_file opened) {
  const auto file = std::make_shared<const model_file>(std::move(opened));
  const std::string& path = file->path();
  const decoder_config config = decoder_config_from(*file);
  const tensor_list wanted = tensors_of(config);
  std::vector<model_tensor> tensors;
  for (const expected_tensor& e : wanted.all()) {
    if (e.role == tensor_role::head && file->find(e.name) == nullptr) {
      continue;  // tied to the embedding
    }
    tensors.push_back({e.name, file->matrix(e.name), e.role});
  }
  detail::require_expected(wanted, tensors, path);
  std::set<std::string_view> known;
  for (const model_tensor& t : tensors) {
    known.insert(t.name);
  }
  for (const stored_tensor& t : file->tensors()) {
    require(known.contains(t.name), path, ": tensor ", printable(t.name), " is not part of a ",
            config.family, " model that zoq knows");
  }
  return decoder(config, std::move(tensors), file);
}

ZOQ_BODY decoder::decoder(const decoder_config& config, std::vector<model_tensor> tensors,
                          std::shared_ptr<const void> owner)
    : config_(config), tensors_(std::move(tensors)), owner_(std::move(owner)) {
  const std::string name(config.family);
  config.validate(name);
  const tensor_list wanted = tensors_of(config);
  detail::require_expected(wanted, tensors_, name);
  layers_.resize(static_cast<std::size_t>(config.layers));
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const expected_tensor& e = wanted.all()[i];
    (e.layer < 0 ? numbers_.*e.in_model : layers_[static_cast<std::size_t>(e.layer)].*e.in_layer) =
        static_cast<index_t>(i);
  }
}

ZOQ_BODY index_t decoder::byte_count() const {
  index_t bytes = 0;
  for (const model_tensor& t : tensors_) {
    bytes += t.weight.byte_count();
  }
  return bytes;
}

ZOQ_BODY std::string decoder::hash() const { return hash_of(tensors_); }

}  // namespace zoq

#endif
