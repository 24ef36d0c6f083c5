/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * From a packet to its device, and from a socket to its inode, where what lies in the pointer's place may be something
 * else.
 */
#ifndef POINTER_H
#define POINTER_H

#include "kernel.h"

/* What lies in a pointer's place is an address of the kernel. Said apart from the test for NULL, which the verifier wants to
 * see as such.
 */
INLINE int is_address(const void *pointer)
{
	s64 address = (s64)pointer;
	asm volatile("" : "+r"(address));
	return address < 0;
}

/* The place of skb->dev holds other things while a packet lies in a queue (udp_set_dev_scratch(), an rb_node of TCP or
 * netem). It is a device if the namespace that it names has a loopback device that names the same namespace.
 */
INLINE struct net_device *device_of(struct sk_buff *skb)
{
	struct net_device *dev = GET(skb, dev);
	if (!dev || !is_address(dev))
		return 0;
	struct net *net = GET(dev, nd_net.net);
	if (!net)
		return 0;
	struct net_device *lo = GET(net, loopback_dev);
	if (!lo)
		return 0;
	struct net *same = GET(lo, nd_net.net);
	return same == net ? dev : 0;
}

/* A socket that has all its fields: a TIME_WAIT (6) or NEW_SYN_RECV (12) one has not, and the place of skb->sk holds an
 * offset while fragments are put together.
 */
INLINE int is_full(struct sock *sk)
{
	if (!sk || !is_address(sk))
		return 0;
	u8 state = GET(sk, __sk_common.skc_state);
	return state != 0 && state != 6 && state != 12;
}

INLINE u64 inode_of(struct sock *sk)
{
	struct socket *socket = GET(sk, sk_socket);
	if (!socket)
		return 0;
	struct file *file = GET(socket, file);
	if (!file)
		return 0;
	struct inode *inode = GET(file, f_inode);
	return inode ? GET(inode, i_ino) : 0;
}

#endif
