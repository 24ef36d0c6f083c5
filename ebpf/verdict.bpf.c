/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * Which chain, and which rule of it, drops packets: looked on as the kernel evaluates them. On every packet that is not
 * dropped the programs do nothing but look at the verdict.
 *
 * With nftables there are two steps. The expression that decides leaves its address (`deciding`); the chain that it was
 * evaluated for then finds the rule that holds this address. A chain that drops without such an expression does so by its
 * policy. Rules of x_tables are evaluated in one function; of those, the table and the hook are told.
 */
#define RAW /* fields of modules' structures are read by a helper */
#include "kernel.h"
#include "netfilter.h"

#define NAME 256 /* NFT_NAME_MAXLEN */
#define CHAINS 10000 /* of a table, at most: a rule of further ones is not found */
#define RULES 100000 /* of a chain, at most */
#define NF_INET_POST_ROUTING 4

/* What dropped. */
enum what {
	RULE,
	UNKNOWN_RULE, /* it is none of the first CHAINS and RULES, or changed meanwhile */
	POLICY,
	TABLE, /* of x_tables: a rule or a policy */
};

struct refusal {
	u64 table; /* its handle, of x_tables its address */
	u64 chain; /* the handle of the chain that the rule stands in, or whose policy it is */
	u64 rule; /* its handle */
	u32 netns; /* inode */
	s32 priority; /* of the chain on the hook */
	u8 what;
	u8 family; /* NFPROTO_* of the table */
	u8 hook;
	u8 l3; /* NFPROTO_* of the packet */
	u8 l4;
	u8 unused[3];
	char device[16]; /* IFNAMSIZ: where the packet came from, or behind the routing where it goes to */
};

struct place {
	u64 table;
	u64 chain;
	u32 netns;
	u32 unused;
};

struct names {
	char table[NAME];
	char chain[NAME];
};

/* src/source/probe/verdicts.rs reads them so. */
_Static_assert(sizeof(struct refusal) == 56, "refusal");
_Static_assert(sizeof(struct place) == 24, "place");
_Static_assert(sizeof(struct names) == 512, "names");

/* A rule that was found, by the address of the expression that decided. */
struct found {
	u64 at; /* where it lies, with */
	u64 head; /* this before its expressions: another rule there has another handle */
	u64 table;
	u64 chain;
	u32 netns;
	u32 unused;
};

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, struct refusal);
	TYPE(value, u64);
} refusals SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, 1024);
	TYPE(key, struct place);
	TYPE(value, struct names);
} names SEC(".maps");

/* Refusals without room in `refusals`. */
struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} unkept SEC(".maps");

/* Expressions that have decided, by the packet's nft_pktinfo, until nft_do_chain() ends. */
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, u64);
	TYPE(value, u64);
} deciding SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, u64);
	TYPE(value, struct found);
} rules SEC(".maps");

/* Never written. */
struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct names);
} no_names SEC(".maps");

/* NF_DROP with or without an errno; since 6.7 nft_do_chain() frees the packet itself, which is NF_STOLEN with an errno. */
INLINE int is_drop(u32 verdict)
{
	u32 kind = verdict & 0xff;
	return kind == 0 || (kind == 2 && verdict >> 16);
}

INLINE void count(struct refusal *refusal)
{
	u64 *packets = bpf_map_lookup_elem(&refusals, refusal);
	if (!packets) {
		u64 none = 0;
		u32 at = 0;
		bpf_map_update_elem(&refusals, refusal, &none, BPF_NOEXIST);
		/* Another CPU may have been first; or there is no room. */
		packets = bpf_map_lookup_elem(&refusals, refusal);
		if (!packets)
			packets = bpf_map_lookup_elem(&unkept, &at);
	}
	if (packets)
		__sync_fetch_and_add(packets, 1);
}

/* Room for the names of a place that has none yet. */
INLINE struct names *unnamed(const struct refusal *refusal)
{
	struct place place = { .table = refusal->table, .chain = refusal->chain, .netns = refusal->netns };
	u32 at = 0;
	if (bpf_map_lookup_elem(&names, &place))
		return 0;
	struct names *none = bpf_map_lookup_elem(&no_names, &at);
	if (!none)
		return 0;
	bpf_map_update_elem(&names, &place, none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&names, &place);
}

INLINE void name(const struct refusal *refusal, struct nft_chain *chain, struct nft_table *table)
{
	struct names *names = unnamed(refusal);
	if (!names)
		return;
	bpf_probe_read_kernel_str(names->table, NAME, GET(table, name));
	bpf_probe_read_kernel_str(names->chain, NAME, GET(chain, name));
}

/* What the hook knows of the packet. */
INLINE void describe(struct refusal *refusal, struct nf_hook_state *state)
{
	refusal->hook = GET(state, hook);
	refusal->l3 = GET(state, pf);
	struct net *net = GET(state, net);
	refusal->netns = GET(net, ns.inum);
	struct net_device *dev = GET(state, in);
	if (!dev || refusal->hook == NF_INET_POST_ROUTING)
		dev = GET(state, out);
	if (dev)
		COPY(&refusal->device, dev, name);
}

/* const struct nft_expr *expr, struct nft_regs *regs, const struct nft_pktinfo *pkt
 *
 * Every function that evaluates an expression is of this form; this is attached to those that can give a verdict.
 */
SEC("fexit/nft_immediate_eval") int decided(u64 *args)
{
	struct nft_regs *regs = (void *)args[1];
	u64 expr = args[0], pkt = args[2];
	s32 verdict = GET(regs, verdict.code);
	/* Negative ones are those of nftables alone: go on, jump. */
	if (verdict >= 0 && is_drop(verdict))
		bpf_map_update_elem(&deciding, &pkt, &expr, BPF_ANY);
	return 0;
}

INLINE int holds(struct nft_rule_blob *blob, u64 expr)
{
	if (!blob)
		return 0;
	return expr - ((u64)blob + OFFSET(blob, data)) < GET(blob, size);
}

/* The rules that hold an expression. */
INLINE struct nft_rule_blob *blob_of(struct nft_chain *chain, u64 expr)
{
	struct nft_rule_blob *blob = GET(chain, blob_gen_0);
	if (holds(blob, expr))
		return blob;
	blob = GET(chain, blob_gen_1);
	return holds(blob, expr) ? blob : 0;
}

/* The chain that an expression stands in is looked for among those of its table. */
struct among_chains {
	u64 expr;
	struct list_head *next, *end;
	struct nft_chain *chain;
};

static long next_chain(u32 i __attribute__((unused)), struct among_chains *search)
{
	struct list_head *here = search->next;
	if (here == search->end)
		return 1;
	struct nft_chain *chain = 0;
	chain = (void *)here - OFFSET(chain, list);
	if (blob_of(chain, search->expr)) {
		search->chain = chain;
		return 1;
	}
	search->next = GET(here, next);
	return 0;
}

/* The chain that was evaluated, or another one that it led to. */
INLINE struct nft_chain *chain_of(struct nft_chain *chain, struct nft_table *table, u64 expr)
{
	if (blob_of(chain, expr))
		return chain;
	struct among_chains search = { .expr = expr };
	search.next = GET(table, chains.next);
	search.end = (void *)table + OFFSET(table, chains);
	bpf_loop(CHAINS, next_chain, &search, 0);
	return search.chain;
}

/* The rule that it stands in is looked for among those of the chain. */
struct among_rules {
	u64 expr;
	u64 at;
	u64 head;
	int found;
};

static long next_rule(u32 i __attribute__((unused)), struct among_rules *search)
{
	struct nft_rule_dp *rule = 0;
	if (bpf_probe_read_kernel(&search->head, 8, (void *)search->at) || BITS(search->head, rule, is_last))
		return 1;
	u64 next = search->at + OFFSET(rule, data) + BITS(search->head, rule, dlen);
	if (search->expr < next) {
		search->found = 1;
		return 1;
	}
	search->at = next;
	return 0;
}

INLINE u64 handle_of(u64 head)
{
	struct nft_rule_dp *rule = 0;
	return BITS(head, rule, handle);
}

/* The rule, remembered from another packet or found now. */
INLINE int name_rule(struct refusal *refusal, struct nft_chain *chain, struct nft_table *table, u64 expr)
{
	struct found *known = bpf_map_lookup_elem(&rules, &expr);
	if (known && known->table == refusal->table && known->netns == refusal->netns) {
		u64 head = 0;
		bpf_probe_read_kernel(&head, sizeof(head), (void *)known->at);
		if (head == known->head) {
			refusal->rule = handle_of(head);
			refusal->chain = known->chain;
			return 1;
		}
	}
	chain = chain_of(chain, table, expr);
	struct nft_rule_blob *blob = chain ? blob_of(chain, expr) : 0;
	if (!blob)
		return 0;
	struct among_rules search = { .expr = expr, .at = (u64)blob + OFFSET(blob, data) };
	bpf_loop(RULES, next_rule, &search, 0);
	if (!search.found)
		return 0;
	struct found found = { .at = search.at, .head = search.head };
	found.table = refusal->table;
	found.netns = refusal->netns;
	found.chain = GET(chain, handle);
	bpf_map_update_elem(&rules, &expr, &found, BPF_ANY);
	refusal->rule = handle_of(found.head);
	refusal->chain = found.chain;
	name(refusal, chain, table);
	return 1;
}

/* struct nft_pktinfo *pkt, void *priv: the chain on the hook */
SEC("fexit/nft_do_chain") int evaluated(u64 *args)
{
	if (!is_drop(args[2]))
		return 0;
	struct nft_pktinfo *pkt = (void *)args[0];
	struct nft_chain *chain = (void *)args[1];
	struct nft_base_chain *base = 0;
	base = (void *)chain - OFFSET(base, chain);
	struct nft_table *table = GET(chain, table);
	struct refusal refusal = {};
	describe(&refusal, GET(pkt, state));
	refusal.l4 = GET(pkt, tprot);
	refusal.priority = GET(base, ops.priority);
	u64 word = 0;
	bpf_probe_read_kernel(&word, __builtin_preserve_field_info(table->family, 1),
			      (void *)table + __builtin_preserve_field_info(table->family, 0));
	refusal.family = BITS(word, table, family);
	refusal.table = GET(table, handle);
	refusal.chain = GET(chain, handle);

	u64 at = (u64)pkt;
	u64 *decided = bpf_map_lookup_elem(&deciding, &at);
	u64 expr = decided ? *decided : 0;
	if (expr)
		bpf_map_delete_elem(&deciding, &at);
	if (expr && name_rule(&refusal, chain, table, expr)) {
		refusal.what = RULE;
	} else {
		refusal.what = !expr && !GET(base, policy) ? POLICY : UNKNOWN_RULE;
		name(&refusal, chain, table);
	}
	count(&refusal);
	return 0;
}

INLINE int table(struct xt_table *table, struct sk_buff *skb, struct nf_hook_state *state, u32 verdict)
{
	if (!is_drop(verdict))
		return 0;
	struct refusal refusal = { .what = TABLE, .table = (u64)table };
	describe(&refusal, state);
	refusal.family = refusal.l3;
	u8 *header = GET(skb, head);
	header += GET(skb, network_header);
	/* protocol of struct iphdr, nexthdr of struct ipv6hdr */
	bpf_probe_read_kernel(&refusal.l4, 1, header + (refusal.l3 == 2 ? 9 : 6));
	struct names *names = unnamed(&refusal);
	if (names)
		COPY((char(*)[32])names->table, table, name);
	count(&refusal);
	return 0;
}

/* void *priv, struct sk_buff *skb, const struct nf_hook_state *state: since 5.16 */
SEC("fexit/ipt_do_table") int table_first(u64 *args)
{
	return table((void *)args[0], (void *)args[1], (void *)args[2], args[3]);
}

/* struct sk_buff *skb, const struct nf_hook_state *state, struct xt_table *table */
SEC("fexit/ipt_do_table") int table_last(u64 *args)
{
	return table((void *)args[2], (void *)args[0], (void *)args[1], args[3]);
}
