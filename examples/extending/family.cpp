// A new family of models: learned positions, root-mean-square norms, GELU, no bias.
//
// Its last line: 10 tensors, the last output\.weight of 10 x 8
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>
#include <zoq/io/gguf.hpp>
#include <zoq/io/gguf_writer.hpp>
#include <zoq/model/family.hpp>

struct mini_family {
  static constexpr std::string_view name = "mini";  // general.architecture

  static zoq::decoder_config config_from(const zoq::model_file& file) {
    const zoq::family_metadata in(file, name);  // reads "mini.block_count" and so on
    zoq::decoder_config c;
    c.family = name;
    c.positions = zoq::position_kind::learned;
    c.activation = zoq::activation_kind::gelu;
    c.layers = in.layers();
    c.hidden = in.size("embedding_length");
    c.heads = c.kv_heads = in.size("attention.head_count");
    c.head_size = c.heads > 0 ? c.hidden / c.heads : 0;
    c.feed_forward = in.size("feed_forward_length");
    c.context = in.size("context_length");
    c.vocabulary = file.matrix("token_embd.weight").rows();
    c.validate(file.path());
    return c;
  }

  static zoq::tensor_list tensors(const zoq::decoder_config& c) {
    using enum zoq::tensor_role;
    using model = zoq::model_numbers;
    using layer = zoq::layer_numbers;
    const zoq::index_t h = c.hidden, f = c.feed_forward;
    zoq::tensor_list out;
    out.add("token_embd.weight", embedding, c.vocabulary, h, &model::embedding);
    out.add("position_embd.weight", position, c.context, h, &model::positions);
    for (zoq::index_t l = 0; l < c.layers; ++l) {
      out.add(l, "attn_norm.weight", norm, 1, h, &layer::attention_norm);
      out.add(l, "attn_qkv.weight", linear, 3 * h, h, &layer::query_key_value);
      out.add(l, "attn_output.weight", linear, h, h, &layer::output);
      out.add(l, "ffn_norm.weight", norm, 1, h, &layer::feed_forward_norm);
      out.add(l, "ffn_up.weight", linear, f, h, &layer::up);
      out.add(l, "ffn_down.weight", linear, h, f, &layer::down);
    }
    out.add("output_norm.weight", norm, 1, h, &model::output_norm);
    out.add("output.weight", head, c.vocabulary, h, &model::head);  // last: may be tied
    return out;
  }
};
static_assert(zoq::model_family<mini_family>);

int main() {
  // A file with the sizes alone; what its tensors must be follows from them.
  const std::string path = std::filesystem::temp_directory_path() / "zoq_extending_family.gguf";
  zoq::gguf_writer writer;
  const auto set = [&](const char* key, std::uint32_t n) {
    writer.set(std::string("mini.") + key, n);
  };
  writer.set("general.architecture", std::string_view("mini"));
  set("block_count", 1);
  set("embedding_length", 8);
  set("attention.head_count", 2);
  set("feed_forward_length", 16);
  set("context_length", 32);
  const std::vector<float> table(10 * 8, 0.5f);
  writer.add_tensor("token_embd.weight", {8, 10}, 0, std::as_bytes(std::span(table)));
  writer.write(path);
  const zoq::decoder_config c = mini_family::config_from(zoq::open_gguf(path));
  std::filesystem::remove(path);
  const auto wanted = mini_family::tensors(c).all();
  std::cout << wanted.size() << " tensors, the last " << wanted.back().name << " of "
            << wanted.back().rows << " x " << wanted.back().columns << "\n";
  return c.linear_weights() == 8 * (3 * 8 + 8 + 16 + 16) && wanted.size() == 10 ? 0 : 1;
}
