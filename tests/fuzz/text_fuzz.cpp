// Any text through a whole byte-level vocabulary and every kind of pre-tokenizer: it comes back.
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "fuzz/input.hpp"
#include "io/tiny_vocabulary.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/tokenizer.hpp"

namespace {

std::vector<zoq::tokenizer> every_kind() {
  std::vector<zoq::tokenizer> out;
  for (const char* kind : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"}) {
    zoq::test::tiny_vocabulary words;
    words.pre = kind;
    words.merge("h", "e");
    words.merge("he", "he");
    words.merge(" ", " ");
    words.merge("  ", "  ");
    words.merge("\n", "\n");
    words.special("<|end|>", 3);
    words.special("<pad>", 4);
    words.special("<pad><pad>", 4);
    words.more.set("tokenizer.ggml.bos_token_id", std::uint32_t{7});
    const std::string bytes = words.writer().metadata_bytes();
    const zoq::fuzz::file& file =
        zoq::fuzz::as_file({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    out.emplace_back(zoq::open_gguf(file.path()));
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<zoq::tokenizer> all = every_kind();
  const std::string_view text = zoq::fuzz::as_text({data, size});
  for (const zoq::tokenizer& words : all) {
    zoq::fuzz::read_or_refused([&] {
      for (const auto mode : {zoq::special::plain, zoq::special::parsed}) {
        zoq::fuzz::expect(words.decode(words.encode(text, mode)) == text,
                          "a text came back changed");
      }
    });
  }
  return 0;
}
