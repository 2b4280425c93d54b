"""Every bound of the protocol, with its unit in its name."""

PROTOCOL_VERSION = 1

# Log
RECORD_BYTES_MAX = 60_000
TREE_SIZE_MAX = 2**40 - 1  # positions are packed beside a log number in one 63-bit key
PROOF_HASHES_MAX = 63  # C2SP tlog-witness
NOTE_BYTES_MAX = 16_384
NOTE_SIGNATURES_MAX = 32  # C2SP signed-note: accept at least 16
ADD_CHECKPOINT_BYTES_MAX = 20_480  # room for a proof and a note of the greatest sizes
LOG_PROOF_BYTES_MAX = 102_400  # the same, and a record in base64

# Amounts: integers in minor units
AMOUNT_MINOR_MAX = 10**12
COUNTER_MINOR_MAX = 2**53 - 1  # exact in every JSON reader
DECIMALS_MAX = 6

# Names and texts
VILLAGE_ID_CHARS_MAX = 63  # a DNS label
VILLAGE_NAME_CHARS_MAX = 80
MEMBER_NAME_CHARS_MAX = 60
NOTE_TEXT_CHARS_MAX = 200
ASSET_CODE_CHARS_MAX = 32
TRADE_ID_CHARS_MAX = 64
PIN_CHARS_MIN = 4
PIN_CHARS_MAX = 64
ADDRESSES_MAX = 8
ADDRESS_CHARS_MAX = 255

# Trade
SEATS_MAX = 7
ROUND_MAX = 9_999  # of a council: waits double, so this many are decades
DEADLINE_S_MAX = 7 * 86_400
DEADLINE_S_DEFAULT = 86_400
DEADLINE_MINUTE_MAX = 4_000_000_000  # in the year 9575: every calendar can show it
CLOCKS_APART_S_MAX = 3_600  # how much further ahead a deadline may seem, by a slow clock
WINDOW_S_DEFAULT = 600
WINDOW_S_MAX = 7 * 86_400
OPEN_TRADES_PER_MEMBER_MAX = 100
OPEN_TRADES_PER_NEIGHBOUR_MAX = 1_000
PROPOSALS_PER_PERSON_MAX = 50  # that wait for one person, from one neighbour
DEALS_PER_PAIR_MAX = 10  # proposals of one member that wait for another of the same village
DEAD_PROPOSALS_KEPT_MAX = 1_000  # of one neighbour, declined or run out
UNDISPUTED_S_MAX = 30 * 86_400  # after it is settled: then goods count as delivered
DISPUTE_TEXT_CHARS_MAX = 500
DELIVERIES_PER_RUN_MAX = 256  # that time alone makes due, in one transaction

# Listings (offers and wants of goods)
LISTING_TEXT_CHARS_MAX = 500
LISTING_S_DEFAULT = 30 * 86_400
LISTING_S_MAX = 90 * 86_400
LISTINGS_PER_MEMBER_MAX = 50
LISTINGS_OWN_MAX = 10_000
LISTINGS_PER_NEIGHBOUR_MAX = 2_000  # of those, the ones that are kept
LISTINGS_PER_MESSAGE_MAX = 128

# Lines: what a new neighbour may come to owe us
LINE_TOKEN_MINOR_DEFAULT = 1_000_00  # 1,000 AT
LINE_RESOURCE_MINOR_DEFAULT = 10

# Messages between villages
BODY_BYTES_MAX = 2 * 1024 * 1024
JSON_DEPTH_MAX = 16
PUSH_RECORDS_MAX = 8_192
PUSH_BYTES_MAX = 1_000_000
SUBJECTS_PER_MESSAGE_MAX = 64
COUNCILS_PER_MESSAGE_MAX = 32
COSIGNED_PER_MESSAGE_MAX = 16  # others' cosignatures on the sender's log
MISBEHAVIOUR_PER_MESSAGE_MAX = 2  # proofs of it; more are not looked at
MISBEHAVIOUR_PER_VILLAGE_MAX = 4  # proofs kept of one village's
NEIGHBOURS_MAX = 64
CANDIDATES_MAX = 256
CANDIDATE_S_MAX = 30 * 86_400  # since it last offered itself

# Requests between villages (RFC 9421)
CLOCK_SKEW_S_MAX = 60
NONCE_BYTES = 16
NONCES_KEPT_MAX = 65_536
ISSUED_NONCES_MAX = 1_024
ISSUED_NONCE_S_MAX = 60
SIGNATURE_HEADER_CHARS_MAX = 1_024
TARGET_CHARS_MAX = 2_048
BODY_READ_S_MAX = 30
PROBLEM_BYTES_MAX = 16_384
PROBLEM_MEMBERS_MAX = 16
PROBLEM_MEMBER_CHARS_MAX = 1_024

# Waiting for another village
CONNECT_S_MAX = 5
ANSWER_S_MAX = 15
EXCHANGE_S_MAX = 30
IDLE_CONNECTION_S_MAX = 90

# Time
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
