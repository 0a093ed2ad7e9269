-- The rows of the contacts service; bench/filling.py says what they come to.

CREATE TEMP TABLE filled AS
SELECT
  n, id AS contact_id, uid, names.name_n, is_company, display_name, given_name, family_name,
  date_trunc('second', contacts_began + n * (postings_began - contacts_began) / contacts) AS time,
  n % 50 = 7 AS deleted,
  CASE WHEN n % 10 < 7 THEN
    slug || n || '@' || (ARRAY['example.com', 'example.net', 'example.org'])[1 + n % 3]
  END AS email,
  CASE WHEN n % 10 > 1 THEN '+98912' || lpad((n % 10000000)::text, 7, '0') END AS phone,
  CASE WHEN n % 2 = 0 THEN 'T' || lpad(n::text, 8, '0') END AS till_id,
  jsonb_strip_nulls(jsonb_build_object(
    'tier', CASE WHEN n % 100 < 60 THEN
      CASE WHEN n % 20 = 0 THEN 'gold' WHEN n % 5 = 1 THEN 'silver' ELSE 'bronze' END
    END,
    'city', 'city-' || n / 7 % 40,
    'campaign', CASE WHEN n % 4 = 0 THEN 'campaign-' || n / 4 % greatest(1, contacts / 200) END,
    'segment', CASE WHEN n % 100 = 11 THEN 'vip' END
  )) AS labels
FROM wanted, ids
JOIN names ON names.name_n = n * 7919 % (SELECT count(*) FROM names);
ANALYZE filled;

INSERT INTO contacts (
  contact_id, uid, version, create_time, update_time, delete_time, labels, kind, display_name,
  given_name, family_name, emails, phones, social_handles, occupation, birth_date, locale,
  acquisition_source, lifecycle_stage, owner, custom_fields, external_ids
)
SELECT
  contact_id, uid, CASE WHEN deleted THEN 2 ELSE 1 END, time,
  CASE WHEN deleted THEN time + interval '7 days' ELSE time END,
  CASE WHEN deleted THEN time + interval '7 days' END,
  labels, CASE WHEN is_company THEN 2 ELSE 1 END, display_name, given_name, family_name,
  CASE WHEN email IS NULL THEN '[]' ELSE jsonb_build_array(
    jsonb_build_object('address', email, 'label', 'home')) END,
  CASE WHEN phone IS NULL THEN '[]' ELSE jsonb_build_array(
    jsonb_build_object('number', phone, 'label', 'mobile')) END,
  '[]',
  CASE WHEN is_company THEN '' ELSE (ARRAY['', 'teacher', 'nurse', 'engineer'])[1 + n % 4] END,
  CASE WHEN NOT is_company AND n % 3 = 0 THEN date '1950-01-01' + (n % 20000)::int END,
  (ARRAY['en-GB', 'de-DE', 'fa-IR'])[1 + n % 3],
  (ARRAY['instagram', 'shop', 'friend', 'web'])[1 + n / 3 % 4],
  CASE WHEN n % 10 < 4 THEN 1 WHEN n % 10 < 8 THEN 2 WHEN n % 10 = 8 THEN 3 ELSE 4 END,
  'staff-' || n / 11 % 20,
  CASE WHEN n % 10 = 0 THEN jsonb_build_object('shoe', '4' || n % 6) END,
  CASE WHEN till_id IS NULL THEN '[]' ELSE jsonb_build_array(
    jsonb_build_object('system', 'till', 'value', till_id)) END
FROM filled ORDER BY n;

INSERT INTO contact_labels (contact_id, key, value, create_time, display_name)
SELECT contact_id, (jsonb_each_text(labels)).*, time, display_name FROM filled ORDER BY n;
INSERT INTO contact_emails (contact_id, address_key)
SELECT contact_id, email FROM filled WHERE email IS NOT NULL ORDER BY n;
INSERT INTO contact_phones (contact_id, number)
SELECT contact_id, phone FROM filled WHERE phone IS NOT NULL ORDER BY n;
INSERT INTO contact_external_ids (system, value, contact_id)
SELECT 'till', till_id, contact_id FROM filled WHERE till_id IS NOT NULL ORDER BY n;
INSERT INTO contact_name_parts (contact_id, part)
SELECT contact_id, part FROM filled JOIN parts USING (name_n);

-- Every second contact has written or called, somebody a third of the time after it came.
INSERT INTO interactions (
  contact_id, interaction_id, uid, create_time, labels, channel, direction, agent, subject, body,
  occur_time
)
SELECT
  contact_id, ids.id, ids.uid, time + interval '3 days', '{}', 1 + n % 9, 1 + n / 2 % 2,
  'staff-' || n / 11 % 20, 'Delivery', 'Asked when the parcel of last week will come.',
  time + interval '3 days'
FROM filled JOIN ids USING (n) WHERE n % 2 = 0 ORDER BY n;

INSERT INTO audit (create_time, principal, method, request_id, action, resource, changed_paths)
SELECT
  time, 'shop', '/vafa.contacts.v1.ContactService/CreateContact', md5('c' || n)::uuid::text,
  'contact.created', 'contacts/' || contact_id, '[]'
FROM filled ORDER BY n;

-- Events of contacts that came so long ago are no longer kept.
UPDATE store SET head_position = contacts, pruned_position = contacts FROM wanted;
