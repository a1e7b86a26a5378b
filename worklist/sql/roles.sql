-- The three roles of the list's database; run once by a superuser, before `vigie migrate`. Passwords are set apart.
--   vigie_owner   migrates, detaches, erases: nothing that serves uses it
--   vigie_app     what `vigie worklist` and `vigie web` use; may not change what the audit holds
--   vigie_sealer  chains the audit: reads it, adds seals
-- Their sessions leave no value of a row in the server's log: an error's text and detail name values.
DO $roles$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['vigie_owner', 'vigie_app', 'vigie_sealer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role);
        END IF;
        EXECUTE format('ALTER ROLE %I SET log_min_error_statement = panic', role);
        EXECUTE format('ALTER ROLE %I SET log_parameter_max_length_on_error = 0', role);
        EXECUTE format('ALTER ROLE %I SET log_error_verbosity = terse', role);
        EXECUTE format('ALTER ROLE %I SET log_min_messages = fatal', role);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO vigie_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO vigie_app, vigie_sealer', current_database());
    ALTER SCHEMA public OWNER TO vigie_owner;
END
$roles$;
