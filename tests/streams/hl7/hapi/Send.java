// Sends orders by HAPI and prints what HAPI understood of each answer: MSA-1 MSA-2.

import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.util.Terser;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

public class Send {
    public static void main(String[] words) throws Exception {
        int port = Integer.parseInt(words[0]);
        boolean secured = words[1].equals("tls");
        String text = Files.readString(Path.of(words[2]), StandardCharsets.UTF_8);
        int count = Integer.parseInt(words[3]);
        try (HapiContext context = new DefaultHapiContext()) {
            Connection connection = context.newClient("127.0.0.1", port, secured);
            connection.getInitiator().setTimeout(10, TimeUnit.SECONDS);
            for (int number = 0; number < count; number++) {
                Message message = context.getPipeParser().parse(text.replace("|M1|", "|H" + number + "|"));
                Terser answer = new Terser(connection.getInitiator().sendAndReceive(message));
                System.out.println(answer.get("/MSA-1") + " " + answer.get("/MSA-2"));
            }
            connection.close();
        }
    }
}
