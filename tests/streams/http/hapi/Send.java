import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.interceptor.BearerTokenAuthInterceptor;
import ca.uhn.fhir.rest.server.exceptions.BaseServerResponseException;
import java.util.function.Supplier;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.*;

/** What an EHR says by HAPI FHIR's client, one line for each answer: what, status, the outcome's issues. */
public class Send {
    static final String HOSPITAL = "HOSP";
    static IGenericClient client;

    public static void main(String[] args) throws Exception {
        FhirContext context = FhirContext.forR4();
        client = context.newRestfulGenericClient(args[0]);
        client.registerInterceptor(new BearerTokenAuthInterceptor(args[1]));
        say("capabilities", () -> client.capabilities().ofType(CapabilityStatement.class).execute().getFhirVersion().toCode());
        say("patient", () -> told(client.update().resource(patient("P1")).withId("p1").execute()));
        say("order", () -> told(client.create().resource(order("A1", "P1")).execute()));
        say("changed", () -> told(client.update().resource(order("A1", "P1").setPriority(ServiceRequest.ServiceRequestPriority.STAT)).withId("o1").execute()));
        say("study", () -> told(client.create().resource(study("1.2.3", "P1")).execute()));
        say("report", () -> told(client.create().resource(report("A1", "P1")).execute()));
        say("merge", () -> issues(client.operation().onType(Patient.class).named("$merge").withParameters(merge("P9", "P1")).execute().getParameter().get(0).getResource()));
        say("transaction", () -> "" + client.transaction().withBundle(transaction()).execute().getEntry().size());
        say("no accession", () -> told(client.create().resource(new ServiceRequest().setStatus(ServiceRequest.ServiceRequestStatus.ACTIVE).setIntent(ServiceRequest.ServiceRequestIntent.ORDER).setSubject(of("P1"))).execute()));
        say("no status", () -> told(client.create().resource(new DiagnosticReport().setSubject(of("P1"))).execute()));
        say("another type", () -> told(client.create().resource(new Medication()).execute()));
        say("to read", () -> client.read().resource(Patient.class).withId("p1").execute().getId());
        client.setEncoding(EncodingEnum.XML);
        say("in XML", () -> told(client.create().resource(order("A2", "P1")).execute()));
        client.setEncoding(EncodingEnum.JSON);
        IGenericClient stranger = context.newRestfulGenericClient(args[0]);
        say("stranger", () -> told(stranger.create().resource(order("A3", "P1")).execute()));
    }

    static void say(String what, Supplier<String> work) {
        String answer;
        try {
            answer = "ok " + work.get();
        } catch (BaseServerResponseException refused) {
            answer = refused.getStatusCode() + " " + issues(refused.getOperationOutcome());
        }
        System.out.println(what + ": " + answer);
    }

    static String told(MethodOutcome outcome) {
        return outcome.getResponseStatusCode() + " " + issues(outcome.getOperationOutcome());
    }

    static String issues(IBaseResource resource) {
        if (!(resource instanceof OperationOutcome)) {
            return "no outcome";
        }
        StringBuilder text = new StringBuilder();
        for (OperationOutcome.OperationOutcomeIssueComponent issue : ((OperationOutcome) resource).getIssue()) {
            text.append(issue.getSeverity().toCode()).append(' ').append(issue.getCode().toCode()).append(' ');
            text.append((issue.getDiagnostics() == null ? "" : issue.getDiagnostics())).append(' ');
        }
        return text.toString().trim();
    }

    static Identifier identifier(String kind, String system, String value) {
        CodeableConcept type = new CodeableConcept().addCoding(new Coding().setCode(kind));
        return new Identifier().setType(type).setSystem(system).setValue(value);
    }

    static Patient patient(String number) {
        Patient patient = new Patient().addIdentifier(identifier("MR", HOSPITAL, number));
        patient.addName().setFamily("LEFÈVRE").addGiven("Zoé");
        patient.setGender(Enumerations.AdministrativeGender.FEMALE).setBirthDateElement(new DateType("1961-04-02"));
        return patient;
    }

    static Reference of(String number) {
        return new Reference().setIdentifier(identifier("MR", HOSPITAL, number));
    }

    static ServiceRequest order(String accession, String number) {
        ServiceRequest order = new ServiceRequest().setStatus(ServiceRequest.ServiceRequestStatus.ACTIVE);
        order.setIntent(ServiceRequest.ServiceRequestIntent.ORDER).setSubject(of(number));
        order.setCode(new CodeableConcept().setText("CT head"));
        return order.addIdentifier(identifier("ACSN", HOSPITAL, accession));
    }

    static ImagingStudy study(String uid, String number) {
        ImagingStudy study = new ImagingStudy().setStatus(ImagingStudy.ImagingStudyStatus.AVAILABLE).setSubject(of(number));
        study.addIdentifier(new Identifier().setSystem("urn:dicom:uid").setValue("urn:oid:" + uid));
        return study.setNumberOfInstances(3);
    }

    static DiagnosticReport report(String accession, String number) {
        DiagnosticReport report = new DiagnosticReport().setStatus(DiagnosticReport.DiagnosticReportStatus.FINAL);
        report.setCode(new CodeableConcept().setText("CT head")).setSubject(of(number));
        report.addIdentifier(identifier("ACSN", HOSPITAL, accession));
        return report;
    }

    static Parameters merge(String retired, String kept) {
        Parameters parameters = new Parameters();
        parameters.addParameter().setName("source-patient-identifier").setValue(identifier("MR", HOSPITAL, retired));
        parameters.addParameter().setName("target-patient-identifier").setValue(identifier("MR", HOSPITAL, kept));
        return parameters;
    }

    static Bundle transaction() {
        Bundle bundle = new Bundle().setType(Bundle.BundleType.TRANSACTION);
        ServiceRequest order = order("A7", "P7").setSubject(new Reference("urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9"));
        bundle.addEntry().setFullUrl("urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9").setResource(patient("P7")).getRequest().setMethod(Bundle.HTTPVerb.POST).setUrl("Patient");
        bundle.addEntry().setResource(order).getRequest().setMethod(Bundle.HTTPVerb.POST).setUrl("ServiceRequest");
        return bundle;
    }
}
