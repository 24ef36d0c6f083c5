/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * What verdict.bpf.c uses of netfilter, which mostly lives in modules: their types lie beside those of the kernel.
 */
#ifndef NETFILTER_H
#define NETFILTER_H

#include "kernel.h"

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_LRU_HASH = 9 };

static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static long (*const bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static long (*const bpf_loop)(u32 most, void *step, void *ctx, u64 flags) = (void *)181;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

struct nf_hook_state {
	u8 hook;
	u8 pf;
	struct net_device *in, *out;
	struct net *net;
};

struct nf_hook_ops {
	int priority;
};

struct nft_pktinfo {
	struct nf_hook_state *state;
	u8 tprot;
};

struct nft_table {
	struct list_head chains;
	u64 handle;
	u16 family : 6, : 10;
	char *name;
};

/* A rule as it is evaluated: expressions of `dlen` bytes. The next one follows. */
struct nft_rule_dp {
	u64 is_last : 1, dlen : 12, handle : 42, : 9;
	u8 data[];
};

struct nft_rule_blob {
	unsigned long size;
	u8 data[];
};

struct nft_chain {
	/* Of the two generations one is in use. */
	struct nft_rule_blob *blob_gen_0;
	struct nft_rule_blob *blob_gen_1;
	struct list_head list;
	struct nft_table *table;
	u64 handle;
	char *name;
};

struct nft_base_chain {
	struct nf_hook_ops ops;
	u8 policy;
	struct nft_chain chain;
};

struct nft_verdict {
	u32 code;
};

struct nft_regs {
	struct nft_verdict verdict;
};

struct xt_table {
	char name[32];
};

#pragma clang attribute pop

/* A bit field of a word that was read already: where it lies in it. */
#define BITS(word, from, field)                                                                                        \
	((word) << __builtin_preserve_field_info((from)->field, 4) >> __builtin_preserve_field_info((from)->field, 5))

#endif
