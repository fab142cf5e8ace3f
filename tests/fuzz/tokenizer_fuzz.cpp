// A tokenizer from a GGUF file's metadata, and texts through it, the file's own bytes among them.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "fuzz/input.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] {
    const zoq::model_file file = zoq::open_gguf(input.path());
    const zoq::tokenizer words(file);
    const std::string_view own = zoq::fuzz::as_text({data, size});
    for (const std::string_view text :
         {std::string_view("It was 10 o'clock, \r\n\n  and all 's well.\t"), std::string_view(),
          own.substr(own.size() - std::min<std::size_t>(own.size(), 200))}) {
      for (const auto mode : {zoq::special::plain, zoq::special::parsed}) {
        const auto ids = words.encode(text, mode);
        const std::string back = words.decode(ids);  // throws on an id outside the vocabulary
        zoq::fuzz::expect(ids.size() <= text.size(), "more tokens than bytes");
        (void)back;
        (void)words.spells(text);
        (void)words.encode_sequence(text, mode);
      }
    }
  });
  return 0;
}
