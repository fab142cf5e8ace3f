// Rows of data, and their tokens.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "io/tiny_vocabulary.hpp"
#include "zoq/data/encode.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/jsonl.hpp"
#include "zoq/io/tokenizer.hpp"

namespace {
zoq::tokenizer bytes_alone() {
  const std::string bytes = zoq::test::tiny_vocabulary().writer().metadata_bytes();
  zoq::fuzz::file file;
  file.assign({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  return zoq::tokenizer(zoq::open_gguf(file.path()));
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const zoq::tokenizer words = bytes_alone();
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] {
    const auto rows = zoq::encode_rows(words, zoq::read_rows(input.path()));
    zoq::fuzz::expect(!rows.empty(), "a file without rows was read");
    (void)zoq::majority_share(rows);
    (void)zoq::hash_of(rows);
  });
  return 0;
}
