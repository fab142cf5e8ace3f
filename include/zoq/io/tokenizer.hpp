// Text to token ids and back: byte-level byte-pair encoding, all of it from a GGUF file's metadata.
//
//     zoq::tokenizer tokens(file);
//     std::vector<zoq::token_t> ids = tokens.encode("It was great");
//     std::string same = tokens.decode(ids);
//
// A text is cut into words (io/pre_tokenizer.hpp). Each byte of a word is a symbol; of all pairs of
// neighbours the one that stands first in the list of merges is joined (of equal pairs the
// leftmost), until no pair is in the list. Ids are those of llama.cpp's `llama_tokenize`. Sennrich
// et al., arXiv 1508.07909; bytes as symbols: Radford et al., "Language Models are Unsupervised
// Multitask Learners" (GPT-2). Metadata keys: the GGUF specification.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/keyed_hash.hpp"
#include "zoq/io/byte_alphabet.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/pre_tokenizer.hpp"

namespace zoq {

/// What `encode` makes of a control token's text, such as "<|im_start|>": plain text, or the token.
enum class special { plain, parsed };

class tokenizer {
 public:
  /// Reads the vocabulary; nothing of the file is kept. Throws `error`, naming file and key, on
  /// another tokenizer than byte-level BPE ("gpt2"), an unknown pre-tokenizer, a token that comes
  /// twice, a merge or special id that does not fit the vocabulary, and more than 2^20 tokens, 2^20
  /// merges or 2^14 special tokens. Memory: near 120 bytes a token and 60 a merge, beside the text.
  explicit tokenizer(const model_file& file)
      : pre_(pre_tokenizer_of(file)), adds_bos_(pre_.adds_bos()) {
    const std::vector<std::string_view> texts = strings(file, "tokenizer.ggml.tokens", most_tokens);
    require(!texts.empty(), file.path(), ": metadata tokenizer.ggml.tokens has 0 tokens");
    id_by_text ids;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      require(texts[i].empty() || ids.emplace(texts[i], static_cast<token_t>(i)).second,
              file.path(), ": token \"", printable(texts[i]), "\" comes twice");
    }
    read_tokens(file, texts);
    read_bytes(ids);
    read_merges(file, ids);
    bos_ = read_id(file, "tokenizer.ggml.bos_token_id");
    eos_ = read_id(file, "tokenizer.ggml.eos_token_id");
    read_flag(file, "tokenizer.ggml.add_bos_token", bos_, adds_bos_);
    read_flag(file, "tokenizer.ggml.add_eos_token", eos_, adds_eos_);
  }

  /// The ids of `text` alone: no token is added before or behind. User-defined tokens in the text
  /// are always found; control tokens only when `mode` is special::parsed. Any bytes will do, also
  /// such as are no UTF-8. A byte that the vocabulary has no token for is left out, see spells().
  /// Cost: n log n in the longest word, linear in the rest; a search of the text for each special
  /// token that may be found in it.
  [[nodiscard]] std::vector<token_t> encode(std::string_view text,
                                            special mode = special::plain) const {
    std::vector<token_t> out;
    workspace work;
    for (const fragment& f : fragments(text, mode)) {
      if (f.token >= 0) {
        out.push_back(f.token);
      } else {
        pre_.split(f.text, [&](std::string_view word) { encode_word(word, work, out); });
      }
    }
    return out;
  }

  /// As `encode`, with the tokens around it that the file asks for at the ends of a sequence: bos()
  /// when adds_bos(), eos() when adds_eos().
  [[nodiscard]] std::vector<token_t> encode_sequence(std::string_view text,
                                                     special mode = special::plain) const {
    std::vector<token_t> out = encode(text, mode);
    if (adds_bos_) {
      out.insert(out.begin(), bos_);
    }
    if (adds_eos_) {
      out.push_back(eos_);
    }
    return out;
  }

  /// The bytes of the tokens, one after another; control tokens as their text. The bytes need not
  /// be UTF-8: a character may be spread over tokens. decode(encode(x)) == x for any x that
  /// spells(x). Throws on an id outside the vocabulary.
  [[nodiscard]] std::string decode(std::span<const token_t> ids) const {
    std::string out;
    for (const token_t id : ids) {
      out += piece(id);
    }
    return out;
  }

  /// The bytes of one token. Throws on an id outside the vocabulary.
  [[nodiscard]] const std::string& piece(token_t id) const {
    require(id >= 0 && id < size(), "tokenizer: id ", id, " is outside the vocabulary of ", size());
    return pieces_[static_cast<std::size_t>(id)];
  }

  /// True when the vocabulary has a token for every byte of `text`. Many vocabularies lack the
  /// bytes that never stand in UTF-8, some also rare control characters.
  [[nodiscard]] bool spells(std::string_view text) const {
    return std::all_of(text.begin(), text.end(), [&](char c) { return symbol_of(c) < size(); });
  }

  /// Tokens in the vocabulary.
  [[nodiscard]] index_t size() const { return static_cast<index_t>(pieces_.size()); }
  /// The token that begins a sequence; -1 when the file names none.
  [[nodiscard]] token_t bos() const { return bos_; }
  /// The token that ends a sequence or an answer; -1 when the file names none.
  [[nodiscard]] token_t eos() const { return eos_; }
  /// Whether a sequence begins with bos().
  [[nodiscard]] bool adds_bos() const { return adds_bos_; }
  /// Whether it ends with eos().
  [[nodiscard]] bool adds_eos() const { return adds_eos_; }

 private:
  static constexpr std::uint64_t most_tokens = 1u << 20, most_merges = 1u << 20;
  static constexpr std::size_t most_specials = 1u << 14;
  using id_by_text = std::unordered_map<std::string_view, token_t, keyed_hash>;

  struct merge {
    std::uint32_t rank;  // place in the list: the lowest goes first
    token_t result;
  };
  struct special_token {
    std::string text;
    token_t id;
    bool always;  // user-defined: found in plain text too
  };
  struct fragment {
    std::string_view text;
    token_t token = -1;  // -1: plain text
  };
  // The symbols of a word, as a list linked in both directions.
  struct symbol {
    token_t id;  // -1 once it is joined to its left neighbour
    index_t before, after;
  };
  struct candidate {
    std::uint32_t rank;
    token_t result, left_id, right_id;
    index_t left, right;
    // The top of a std::priority_queue is its largest: the lowest rank, and of these the leftmost.
    friend bool operator<(const candidate& a, const candidate& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    }
  };
  struct workspace {
    std::vector<symbol> symbols;
    std::priority_queue<candidate> queue;
  };

  static pre_tokenizer pre_tokenizer_of(const model_file& file) {
    const std::string model = file.get_string("tokenizer.ggml.model");
    require(model == "gpt2", file.path(), ": metadata tokenizer.ggml.model is \"", printable(model),
            "\", zoq reads byte-level BPE, \"gpt2\"");
    const std::string kind =
        file.has("tokenizer.ggml.pre") ? file.get_string("tokenizer.ggml.pre") : "default";
    try {
      return pre_tokenizer(printable(kind));
    } catch (const error& e) {
      fail(file.path(), ": metadata tokenizer.ggml.pre: ", e.what());
    }
  }

  static std::vector<std::string_view> strings(const model_file& file, const char* key,
                                               std::uint64_t most) {
    require(file.get_count(key) <= most, file.path(), ": metadata ", key, " has ",
            file.get_count(key), " entries, zoq reads up to ", most);
    return file.get_strings(key);
  }

  void read_tokens(const model_file& file, const std::vector<std::string_view>& texts) {
    enum kind : std::int64_t { unknown = 2, control = 3, user_defined = 4 };  // of the GGUF format
    std::vector<std::int64_t> kinds(texts.size(), 1);
    if (file.has("tokenizer.ggml.token_type")) {
      const std::uint64_t count = file.get_count("tokenizer.ggml.token_type");
      require(count == texts.size(), file.path(), ": metadata tokenizer.ggml.token_type has ",
              count, " entries for ", texts.size(), " tokens");
      kinds = file.get_integers("tokenizer.ggml.token_type");
    }
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const bool is_special =
          kinds[i] == unknown || kinds[i] == control || kinds[i] == user_defined;
      std::string bytes;
      const bool spelled = bytes_of_letters(texts[i], bytes);
      if (spelled && pre_.takes_whole_words() && !texts[i].empty()) {
        whole_words_.emplace(bytes, static_cast<token_t>(i));
      }
      pieces_.push_back(spelled && !is_special ? std::move(bytes) : std::string(texts[i]));
      if (is_special && !texts[i].empty()) {
        specials_.push_back(
            {std::string(texts[i]), static_cast<token_t>(i), kinds[i] == user_defined});
      }
    }
    require(specials_.size() <= most_specials, file.path(), ": ", specials_.size(),
            " special tokens, zoq reads up to ", most_specials);
    // The longest first: "<a><b>" is found before "<a>".
    std::stable_sort(specials_.begin(), specials_.end(),
                     [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  }

  // A byte without a token gets a number behind the vocabulary: it takes part in merges and is left
  // out of the result.
  void read_bytes(const id_by_text& ids) {
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = ids.find(byte_letter(static_cast<unsigned char>(byte)));
      byte_symbols_[static_cast<std::size_t>(byte)] =
          found != ids.end() ? found->second : static_cast<token_t>(size() + byte);
    }
  }

  void read_merges(const model_file& file, const id_by_text& ids) {
    const std::vector<std::string_view> lines = strings(file, "tokenizer.ggml.merges", most_merges);
    const auto symbol_named = [&](std::string_view text) -> token_t {
      const auto found = ids.find(text);
      if (found != ids.end()) {
        return found->second;
      }
      std::string bytes;
      return bytes_of_letters(text, bytes) && bytes.size() == 1 ? symbol_of(bytes[0]) : -1;
    };
    merges_.reserve(lines.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::size_t space = lines[i].find(' ', 1);
      require(space != std::string_view::npos, file.path(), ": merge ", i, " \"",
              printable(lines[i]), "\" has no space between its parts");
      const token_t left = symbol_named(lines[i].substr(0, space));
      const token_t right = symbol_named(lines[i].substr(space + 1));
      if (left < 0 || right < 0) {
        continue;  // no word can come to it
      }
      std::string whole(lines[i]);
      whole.erase(space, 1);
      const auto result = ids.find(whole);
      require(result != ids.end(), file.path(), ": merge ", i, " \"", printable(lines[i]),
              "\" makes a token that the vocabulary has not");
      merges_.emplace(key_of(left, right), merge{static_cast<std::uint32_t>(i), result->second});
    }
  }

  token_t read_id(const model_file& file, const char* key) const {
    if (!file.has(key)) {
      return -1;
    }
    const std::uint64_t id = file.get_u64(key);
    require(id < pieces_.size(), file.path(), ": metadata ", key, " is ", id,
            ", outside the vocabulary of ", size());
    return static_cast<token_t>(id);
  }

  static void read_flag(const model_file& file, const char* key, token_t id, bool& flag) {
    if (file.has(key)) {
      flag = file.get_bool(key);
    }
    require(!flag || id >= 0, file.path(), ": metadata ", key,
            " is true, and no id is given for it");
  }

  [[nodiscard]] token_t symbol_of(char byte) const {
    return byte_symbols_[static_cast<unsigned char>(byte)];
  }

  static std::uint64_t key_of(token_t left, token_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  // Cuts the text at the special tokens: for the longest special token at all its places, then for
  // the next in what is left, and so on.
  std::vector<fragment> fragments(std::string_view text, special mode) const {
    std::vector<fragment> out = {{text}};
    std::array<bool, 256> has{};  // most special tokens begin as no text does
    for (const char c : text) {
      has[static_cast<unsigned char>(c)] = true;
    }
    for (const special_token& s : specials_) {
      if ((!s.always && mode == special::plain) || !has[static_cast<unsigned char>(s.text[0])] ||
          text.find(s.text) == std::string_view::npos) {
        continue;
      }
      std::vector<fragment> finer;
      for (const fragment& f : out) {
        if (f.token >= 0) {
          finer.push_back(f);
          continue;
        }
        std::size_t done = 0;
        for (std::size_t at = f.text.find(s.text); at != std::string_view::npos;
             at = f.text.find(s.text, done)) {
          finer.push_back({f.text.substr(done, at - done)});
          finer.push_back({s.text, s.id});
          done = at + s.text.size();
        }
        finer.push_back({f.text.substr(done)});
      }
      out = std::move(finer);
    }
    return out;
  }

  void encode_word(std::string_view word, workspace& work, std::vector<token_t>& out) const {
    if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
      out.push_back(whole->second);
      return;
    }
    std::vector<symbol>& symbols = work.symbols;
    symbols.clear();
    const auto count = static_cast<index_t>(word.size());
    for (index_t i = 0; i < count; ++i) {
      symbols.push_back(
          {symbol_of(word[static_cast<std::size_t>(i)]), i - 1, i + 1 < count ? i + 1 : -1});
    }
    for (index_t i = 0; i + 1 < count; ++i) {
      propose(work, i, i + 1);
    }
    const auto at = [&](index_t i) -> symbol& { return symbols[static_cast<std::size_t>(i)]; };
    while (!work.queue.empty()) {
      const candidate c = work.queue.top();
      work.queue.pop();
      if (at(c.left).id != c.left_id || at(c.right).id != c.right_id) {
        continue;  // a part was joined to something else since
      }
      at(c.left).id = c.result;
      at(c.right).id = -1;
      at(c.left).after = at(c.right).after;
      if (at(c.left).after >= 0) {
        at(at(c.left).after).before = c.left;
        propose(work, c.left, at(c.left).after);
      }
      if (at(c.left).before >= 0) {
        propose(work, at(c.left).before, c.left);
      }
    }
    for (index_t i = count > 0 ? 0 : -1; i >= 0; i = at(i).after) {
      if (at(i).id < size()) {
        out.push_back(at(i).id);
      }
    }
  }

  void propose(workspace& work, index_t left, index_t right) const {
    const token_t left_id = work.symbols[static_cast<std::size_t>(left)].id;
    const token_t right_id = work.symbols[static_cast<std::size_t>(right)].id;
    const auto found = merges_.find(key_of(left_id, right_id));
    if (found != merges_.end()) {
      work.queue.push({found->second.rank, found->second.result, left_id, right_id, left, right});
    }
  }

  pre_tokenizer pre_;
  std::vector<std::string> pieces_;  // [V], bytes
  std::vector<special_token> specials_;
  std::array<token_t, 256> byte_symbols_{};  // ids from size() on: bytes without a token
  std::unordered_map<std::uint64_t, merge, keyed_hash> merges_;
  std::unordered_map<std::string, token_t, keyed_hash, std::equal_to<>> whole_words_;
  token_t bos_ = -1;
  token_t eos_ = -1;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
};

}  // namespace zoq
