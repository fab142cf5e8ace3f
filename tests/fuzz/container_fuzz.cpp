// Model containers: a GGUF file's metadata and blocks in a safetensors file. By open_model_file, which
// tells files apart.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "fuzz/look_at.hpp"
#include "zoq/io/model_container.hpp"
#include "zoq/io/open_model_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] { zoq::fuzz::look_at(zoq::open_model_container(input.path())); });
  zoq::fuzz::read_or_refused([&] { (void)zoq::open_model_file(input.path()); });
  return 0;
}
