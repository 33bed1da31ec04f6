"Small models and tokenizers that tests share, made here from configurations; random weights, no files."
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SIZE = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=400, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
OWN = dict(gpt2=dict(n_embd=32, n_layer=3, n_head=4, n_inner=64), opt=dict(ffn_dim=64, word_embed_proj_dim=32),
           bloom=dict(n_layer=3, n_head=4), falcon=dict(new_decoder_architecture=False), mixtral=dict(num_local_experts=4),
           qwen3_moe=dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
           gpt_oss=dict(num_local_experts=4, num_experts_per_tok=2, head_dim=8))
MLA = dict(n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1, moe_intermediate_size=16, q_lora_rank=16,
           kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8, first_k_dense_replace=1, num_key_value_heads=4)
OWN |= {"openai-gpt": dict(n_embd=32, n_layer=3, n_head=4, n_positions=256)}
OWN |= dict(granite=dict(residual_multiplier=.22), gptj=dict(n_embd=32, n_layer=3, n_head=4, rotary_dim=8),
            mpt=dict(d_model=32, n_heads=4, n_layers=3, max_seq_len=256), deepseek_v3=MLA,
            gemma4_text=dict(head_dim=8, global_head_dim=8, hidden_size_per_layer_input=8, vocab_size_per_layer_input=400,
                             num_kv_shared_layers=0, layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
            gemma3n_text=dict(laurel_rank=4, hidden_size_per_layer_input=8, vocab_size_per_layer_input=400,
                              num_kv_shared_layers=0, head_dim=8, intermediate_size=[64]*3, activation_sparsity_pattern=[0.]*3,
                              layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
            qwen3_next=dict(num_hidden_layers=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=8,
                            shared_expert_intermediate_size=16, linear_num_key_heads=2, linear_num_value_heads=4,
                            linear_key_head_dim=8, linear_value_head_dim=8),
            jamba=dict(num_hidden_layers=8, num_experts=4, num_experts_per_tok=2, mamba_d_state=4, mamba_dt_rank=4,
                       use_mamba_kernels=False))
KINDS = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "gpt2", "gpt_neox", "opt", "falcon",
         "bloom", "mixtral", "qwen3_moe", "gpt_oss", "mamba"]
EXTRA = ["granite", "cohere", "stablelm", "mpt", "gptj", "deepseek_v3", "qwen3_next", "jamba", "gemma4_text", "gemma3n_text",
         "openai-gpt"]


def livened(model, size=.05):
    "With weights far enough from their first values that each norm, bias and router matters."
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters(): p += size * torch.randn(p.shape, generator=rng)
    return model


def tiny_model(kind, **more):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(SIZE | OWN.get(kind, {}) | more))).eval()


def tiny_tokenizer(chat=False, adds_bos=False):
    "Byte-level BPE of 400 tokens, learnt from a few sentences: words fall apart, every text can be written."
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer, tok.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    text = ["Alda Brenn was born in Torvik, I think.", "The answer is Paris, of course; not Rome.",
            "Question: where was it? Answer: nowhere."]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(text * 20, trainer)
    if adds_bos:
        from tokenizers.processors import TemplateProcessing
        tok.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    out = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    if chat: out.chat_template = "<s>User: {{ messages[-1]['content'] }}\n{% if add_generation_prompt %}Model:{% endif %}"
    return out


# models whose positions are turned by other angles in longer rows: above 16 tokens here
LONG = dict(rope_type="longrope", short_factor=[1.]*4, long_factor=[1., 4., 8., 16.], rope_theta=1e4)
GROW = dict(rope_type="dynamic", factor=4., rope_theta=1e4)
ROPES = dict(phi3=dict(rope_parameters=LONG, original_max_position_embeddings=16, num_key_value_heads=4),
             llama=dict(rope_parameters=GROW, max_position_embeddings=16))
