// GGUF files, and the models in them.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>

#include "fuzz/input.hpp"
#include "fuzz/look_at.hpp"
#include "zoq/io/gguf.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] {
    const zoq::model_file file = zoq::open_gguf(input.path());
    zoq::fuzz::look_at(file);
  });
  // The same bytes in memory of exactly their size: there a sanitizer sees a byte too many, which in a mapped
  // file it does not.
  const auto copy = std::make_unique<std::byte[]>(size);
  if (size != 0) {
    std::memcpy(copy.get(), data, size);
  }
  zoq::fuzz::read_or_refused([&] {
    const zoq::model_file file = zoq::detail::gguf_parser("input", {copy.get(), size}).parse({});
    zoq::fuzz::look_at(file);
  });
  return 0;
}
