# SPDX-License-Identifier: Apache-2.0
"""The workload python: objects, dictionaries, strings, sorting, floats, big integers. Prints what it computed."""


class Body:
    def __init__(self, x, v):
        self.x = x
        self.v = v

    def step(self, force):
        self.v += force * 0.01
        self.x += self.v * 0.01


def words(count):
    value = 1
    for _ in range(count):
        value = value * 1103515245 + 12345 & 0x7FFFFFFF
        yield "word%d" % (value >> 16 & 1023)


def frequencies():
    counts = {}
    for word in words(150000):
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]


def bodies():
    crowd = [Body(float(i), 0.0) for i in range(50)]
    for _ in range(1500):
        center = sum(body.x for body in crowd) / len(crowd)
        for body in crowd:
            body.step(center - body.x)
    return "%.9f" % crowd[7].x


def primes(limit):
    sieve = bytearray([1]) * limit
    for i in range(2, int(limit ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, limit, i)))
    return sum(sieve) - 2


def power():
    value = 3
    for _ in range(13):
        value = value * value % (1 << 9000)
    return len(str(value))


print(frequencies(), bodies(), primes(1500000), power())
