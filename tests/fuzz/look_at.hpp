// Asks a model_file everything that it can be asked: all metadata as every kind, all tensors, and whether
// they make a model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fuzz/input.hpp"
#include "zoq/io/model_file.hpp"
#include "zoq/model/decoder.hpp"

namespace zoq::fuzz {

inline void look_at(const model_file& file) {
  for (const gguf_value& v : file.metadata()) {
    touch(v.bytes);
    read_or_refused([&] { (void)file.get_string(v.key); });
    read_or_refused([&] { (void)file.get_u64(v.key); });
    read_or_refused([&] { (void)file.get_i64(v.key); });
    read_or_refused([&] { (void)file.get_float(v.key); });
    read_or_refused([&] { (void)file.get_bool(v.key); });
    read_or_refused([&] { (void)file.get_count(v.key); });
    read_or_refused([&] { (void)file.get_strings(v.key); });
    read_or_refused([&] { (void)file.get_integers(v.key); });
    read_or_refused([&] { (void)file.get_floats(v.key); });
  }
  for (const stored_tensor& t : file.tensors()) {
    expect(file.find(t.name) == &t, "a tensor is not found by its name");
    read_or_refused([&] {
      const any_packed w = file.matrix(t.name);
      touch({w.bytes(), static_cast<std::size_t>(t.byte_count)});
      std::vector<float> row(static_cast<std::size_t>(w.columns()));
      w.visit([&](const auto& packed) { decode_row(packed, w.rows() - 1, row.data()); });
    });
  }
  read_or_refused([&] {
    const decoder model = decoder::from(file);
    (void)model.hash();
    (void)model.config().linear_weights();
  });
}

}  // namespace zoq::fuzz
