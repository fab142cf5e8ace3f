// safetensors files: every tensor, as every type.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "zoq/io/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] {
    const auto file = zoq::safetensors_file::open(input.path());
    std::size_t bytes = 0;
    for (const zoq::safetensor& t : file.tensors()) {
      zoq::fuzz::touch(t.bytes);
      bytes += t.bytes.size();
      zoq::fuzz::expect(file.find(t.name) == &t, "a tensor is not found by its name", t.name);
      zoq::fuzz::read_or_refused([&] { (void)file.values<float>(t.name); });
      zoq::fuzz::read_or_refused([&] { (void)file.values<std::int32_t>(t.name); });
      zoq::fuzz::read_or_refused([&] { (void)file.values<std::uint8_t>(t.name); });
    }
    zoq::fuzz::expect(bytes < size, "more bytes of tensors than of the file");
    zoq::fuzz::read_or_refused([&] { (void)file.metadata("format"); });
  });
  return 0;
}
