-- The rows of the loyalty service; bench/filling.py says what they come to.

CREATE FUNCTION pg_temp.text_field(number int, value text) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT decode(lpad(to_hex(number * 8 + 2), 2, '0')
    || lpad(to_hex(octet_length(value)), 2, '0'), 'hex') || convert_to(value, 'UTF8')
$$;
-- A varint of five bytes, as seconds of our days are.
CREATE FUNCTION pg_temp.seconds(at timestamptz) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT decode(lpad(to_hex(
    ((s & 127 | 128) << 32) | ((s >> 7 & 127 | 128) << 24) | ((s >> 14 & 127 | 128) << 16)
    | ((s >> 21 & 127 | 128) << 8) | (s >> 28)), 10, '0'), 'hex')
  FROM (SELECT extract(epoch FROM at)::bigint AS s) AS _
$$;

CREATE FUNCTION pg_temp.related(role text, name text) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT '\x42'::bytea || decode(lpad(to_hex(octet_length(entry)), 2, '0'), 'hex') || entry
  FROM (SELECT pg_temp.text_field(1, role) || pg_temp.text_field(2, name) AS entry) AS _
$$;
CREATE FUNCTION pg_temp.dollars(units bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('currency_code', 'USD', 'units', units::text)
$$;
CREATE FUNCTION pg_temp.line(sku text, category text, units bigint) RETURNS jsonb LANGUAGE sql
STABLE AS $$
  SELECT jsonb_build_object('sku', sku, 'category', category, 'quantity', '1',
    'amount', pg_temp.dollars(units))
$$;

-- Of every five postings the fifth spends of the lot that the first has made, a half or all.
CREATE TEMP TABLE postings AS
WITH numbered AS (
  SELECT
    n AS k, id, uid,
    date_trunc('second', postings_began
      + n * (now - interval '1 hour' - postings_began) / postings) AS time,
    n % 5 = 4 AS is_spending, n - CASE WHEN n % 5 = 4 THEN 4 ELSE 0 END AS award_k
  FROM wanted, posting_ids
), placed AS (
  SELECT
    numbered.*,
    -- Everybody is awarded once if there are enough; after that, some far more often.
    CASE WHEN award_k - award_k / 5 < contacts THEN award_k - award_k / 5
    ELSE floor(contacts * power((hashint8(award_k) & 1073741823) / 1073741824.0, 2))::bigint
    END AS member_n,
    5 + award_k % 96 AS awarded
  FROM wanted, numbered
)
SELECT
  placed.*,
  CASE WHEN NOT is_spending THEN awarded WHEN award_k % 10 = 0 THEN awarded
  ELSE awarded / 2 END AS points,
  member.id AS member_id, lot.id AS lot_id, NOT is_spending AND k % 5 > 0 AS is_order,
  md5('p' || k)::uuid::text AS request_id
FROM placed JOIN ids AS member ON member.n = member_n
JOIN posting_ids AS lot ON lot.n = award_k
ORDER BY k;
ANALYZE postings;

INSERT INTO programs (
  program_id, uid, version, create_time, update_time, labels, display_name, currency_code,
  earn_points, earn_per_minor
)
SELECT 'club', md5('club')::uuid::text, 1, contacts_began, contacts_began, '{}', 'Club', 'USD', 1,
  100
FROM wanted;

INSERT INTO known_contacts (contact, confirmed)
SELECT 'contacts/' || id, true FROM ids ORDER BY n;

INSERT INTO members (
  program_id, member_id, uid, version, create_time, update_time, labels, contact, state,
  points_balance, points_issued, points_redeemed
)
SELECT
  'club', id, uid, 1, time, time,
  CASE WHEN n % 3 = 0 THEN jsonb_build_object('card', (ARRAY['plain', 'gold'])[1 + n / 3 % 2])
  ELSE '{}' END,
  'contacts/' || id, 2, coalesce(issued - redeemed, 0), coalesce(issued, 0), coalesce(redeemed, 0)
FROM (
  SELECT ids.*, date_trunc('second',
    contacts_began + n * (postings_began - contacts_began) / contacts) AS time
  FROM wanted, ids
) AS people
LEFT JOIN (
  SELECT
    member_n, sum(points) FILTER (WHERE NOT is_spending) AS issued,
    coalesce(sum(points) FILTER (WHERE is_spending), 0) AS redeemed
  FROM postings GROUP BY member_n
) AS sums ON member_n = n
ORDER BY n;
INSERT INTO member_labels (program_id, member_id, key, value)
SELECT program_id, member_id, (jsonb_each_text(labels)).* FROM members;

INSERT INTO orders (
  program_id, order_id, uid, create_time, labels, external_id, contact, member_id, order_time,
  lines, payments, currency_code, total_minor, points_earned, content_hash
)
SELECT
  'club', id, uid, time, jsonb_build_object('store', 'store-' || k % 12), 'till-' || k,
  'contacts/' || member_id, member_id, time,
  CASE WHEN k % 5 = 3 THEN jsonb_build_array(
    pg_temp.line('sku-' || k % 5000, 'coffee', points - 2), pg_temp.line('bag', 'other', 2))
  ELSE jsonb_build_array(pg_temp.line('sku-' || k % 5000, 'shoes', points)) END,
  jsonb_build_array(jsonb_build_object('method', 'card', 'amount', pg_temp.dollars(points))),
  'USD', points * 100, points, sha256(convert_to(request_id, 'UTF8'))
FROM postings WHERE is_order ORDER BY k;
INSERT INTO order_labels (program_id, order_id, key, value)
SELECT program_id, order_id, 'store', labels ->> 'store' FROM orders;
INSERT INTO order_lines (program_id, order_id, ordinal, sku, category, quantity)
SELECT
  program_id, order_id, ordinal - 1, line ->> 'sku', line ->> 'category',
  (line ->> 'quantity')::bigint
FROM orders, jsonb_array_elements(lines) WITH ORDINALITY AS _ (line, ordinal);

INSERT INTO ledger_transactions (
  program_id, member_id, ledger_transaction_id, uid, create_time, kind, points, reason, order_id,
  principal, points_balance
)
SELECT
  'club', member_id, id, uid, time, CASE WHEN is_spending THEN 2 ELSE 1 END, points,
  CASE WHEN is_spending THEN 'voucher' WHEN is_order THEN 'order' ELSE 'birthday' END,
  CASE WHEN is_order THEN id END, 'shop',
  sum(CASE WHEN is_spending THEN -points ELSE points END) OVER (PARTITION BY member_n ORDER BY k)
FROM postings ORDER BY k;

INSERT INTO ledger_entries (
  program_id, member_id, ledger_transaction_id, ordinal, account, lot_id, points
)
SELECT
  'club', member_id, id, ordinal,
  CASE WHEN ordinal = 0 THEN 1 WHEN is_spending THEN 3 ELSE 2 END,
  CASE WHEN ordinal = 0 THEN lot_id END,
  CASE WHEN is_spending = (ordinal = 0) THEN -points ELSE points END
FROM postings, generate_series(0, 1) AS ordinal ORDER BY k, ordinal;

INSERT INTO lots (
  program_id, member_id, lot_id, uid, create_time, points_issued, points_remaining,
  ledger_transaction_id
)
SELECT
  'club', award.member_id, award.id, award.uid, award.time, award.points,
  award.points - coalesce(spending.points, 0), award.id
FROM postings AS award
LEFT JOIN postings AS spending ON spending.is_spending AND spending.award_k = award.k
WHERE NOT award.is_spending ORDER BY award.k;

-- What was told of it: the events since the first posting, and the audit of all.
CREATE TEMP TABLE told AS
SELECT
  row_number() OVER (ORDER BY k, is_posting) AS ordinal, told.*, time, request_id,
  CASE WHEN is_order THEN '/vafa.loyalty.v1.OrderService/RecordOrder'
  WHEN is_spending THEN '/vafa.loyalty.v1.LedgerService/SpendPoints'
  ELSE '/vafa.loyalty.v1.LedgerService/AwardPoints' END AS method
FROM postings, LATERAL (
  SELECT
    false AS is_posting, 'order.created' AS type, 'programs/club/orders/' || id AS subject,
    pg_temp.related('contact', 'contacts/' || member_id) AS related
  WHERE is_order
  UNION ALL
  SELECT
    true, CASE WHEN is_spending THEN 'points.spent' ELSE 'points.awarded' END,
    'programs/club/members/' || member_id,
    pg_temp.related('ledger_transaction',
      'programs/club/members/' || member_id || '/ledgerTransactions/' || id)
    || CASE WHEN is_order THEN pg_temp.related('order', 'programs/club/orders/' || id)
    ELSE '' END
) AS told;
ANALYZE told;

INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, position, create_time)
SELECT
  ordinal, split_part(type, '.', 1), subject, type,
  pg_temp.text_field(1, md5('e' || ordinal)::uuid::text) || pg_temp.text_field(3, type)
  || pg_temp.text_field(4, subject) || '\x320608'::bytea || pg_temp.seconds(time) || related
  || pg_temp.text_field(9, request_id),
  contacts + ordinal, time
FROM told, wanted ORDER BY ordinal;
UPDATE store SET pruned_position = contacts, head_position = contacts + (SELECT count(*) FROM told)
FROM wanted;
SELECT setval(pg_get_serial_sequence('outbox', 'id'), (SELECT max(id) FROM outbox));

INSERT INTO audit (create_time, principal, method, request_id, action, resource, changed_paths)
SELECT
  create_time, 'shop', '/vafa.loyalty.v1.MemberService/CreateMember', md5(uid)::uuid::text,
  'member.created', 'programs/club/members/' || member_id, '[]'
FROM members ORDER BY create_time;
INSERT INTO audit (create_time, principal, method, request_id, action, resource, changed_paths)
SELECT time, 'shop', method, request_id, type, subject, '[]' FROM told ORDER BY ordinal;

-- Nobody sends these requests again: the answers are of the right size, and no more.
INSERT INTO idempotency (principal, method, request_id, request_hash, response, create_time)
SELECT
  'shop', method, request_id, sha256(convert_to(request_id, 'UTF8')),
  convert_to(repeat(md5(request_id), CASE WHEN type LIKE 'order%' THEN 10 ELSE 8 END), 'UTF8'),
  time
FROM told, wanted
WHERE time > now - interval '7 days' AND (type LIKE 'order%' OR method NOT LIKE '%Order')
ORDER BY ordinal;
